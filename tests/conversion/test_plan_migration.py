from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from dsft.choices import Decision, Form, Reason, Structure
from dsft.conversion import ConversionPlan, Request, plan_conversion
from dsft.errors import CheckpointError
from tests.zoo import Residual, redraw


def layer(name: str, decision: str, reason: str, **values: Any) -> dict[str, Any]:
    """Return a layer as version 1 wrote it."""
    defaults: dict[str, Any] = {
        "order": None,
        "kernels": [],
        "macs_before": 100,
        "macs_after": 100,
        "relative_error": None,
    }
    return {"name": name, "aliases": [name], "decision": decision, "reason": reason, **defaults, **values}


def version_1(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"method": "svd", "layers": list(layers), "macs_before": 300, "macs_after": 250}


def test_plans_of_version_1_are_read() -> None:
    plan = ConversionPlan.from_dict(
        version_1(
            layer("a", "converted", "chosen by the budget", order="pw_dw", kernels=[1, 2], adds_bias=True),
            layer("b", "kept", "chosen by the budget", weight_shape=[4, 4, 3, 3]),
            layer("c", "converted", "the rank was asked for", kernels=[2], weight_shape=[4, 4, 1, 1], form=None),
            layer("d", "converted", "the rank was asked for", order="dw_pw", kernels=[2, 2], form="gather"),
            layer("e", "kept", "not a 2d convolution"),
            layer("f", "kept", "kernel of one position"),
        )
    )
    found = [(each.decision, each.reason, each.structure) for each in plan.layers]
    kept, converted = Decision.KEPT, Decision.CONVERTED
    assert found == [
        (converted, Reason.BUDGET, Structure.PW_DW),
        (kept, Reason.WITHIN_BUDGET, None),
        (converted, Reason.RANK, Structure.LOW_RANK),
        (converted, Reason.RANK, Structure.DW_PW),
        (kept, Reason.UNSUPPORTED_CONVOLUTION, None),
        (kept, Reason.POINTWISE, None),
    ]
    assert [each.weight_shape for each in plan.layers[:2]] == [(), (4, 4, 3, 3)]
    assert [each.adds_bias for each in plan.layers[:2]] == [True, False]
    assert plan.layers[3].form is Form.GATHER
    assert (plan.norm_between, plan.params_before) == (False, 0)
    assert ConversionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    "broken",
    [
        version_1(layer("a", "kept", "a reason that no version had")),
        version_1({**layer("a", "kept", "no channels"), "decision": "perhaps"}),
        {"method": "svd"},
        version_1({"name": "a"}),
    ],
)
def test_what_is_no_plan_of_version_1_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        ConversionPlan.from_dict(broken)


def test_a_plan_of_a_newer_version_says_so() -> None:
    plan = plan_conversion(redraw(Residual()), torch.randn(1, 3, 8, 8), Request(rank=1)).to_dict()
    assert plan["version"] == 2
    with pytest.raises(CheckpointError, match=r"plan: is of version 3, .* reads up to 2\. Upgrade dsft"):
        ConversionPlan.from_dict({**plan, "version": 3})


def test_every_reason_has_a_code_and_a_message() -> None:
    for reason in Reason:
        assert reason.isidentifier()
        assert reason.message
    assert len({reason.message for reason in Reason}) == len(Reason)
