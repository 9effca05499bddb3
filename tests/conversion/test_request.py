from __future__ import annotations

from typing import Any

import pytest

from dsft.choices import Cost, Form, Method, Runtime, Structure
from dsft.conversion import Budget, MaxDrop, Request
from dsft.conversion.budget import read_budget
from dsft.conversion.request import read_structures
from dsft.errors import ConversionError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of budget and rank is needed, found neither"),
        ({"budget": Budget(Cost.MACS, 0.5), "rank": 1}, "found both"),
        ({"rank": 0}, "at least 1, or 'full', is needed, found 0"),
        ({"rank": "half"}, "found 'half'"),
        ({"rank": True}, "found True"),
        ({"rank": 1, "include": "conv*"}, r"include: a list of patterns is needed, such as \['conv\*'\]"),
        ({"rank": 1, "exclude": "conv*"}, "exclude: a list of patterns is needed"),
        ({"rank": 1, "method": "sdv"}, "method: one of auto, fresh, svd, refit is needed, found 'sdv'. Did you mean"),
        ({"rank": 1, "structures": ["auto"]}, "structures: one of pw_dw_pw, dw_pw, .* is needed, found 'auto'"),
        ({"rank": 1, "form": "gater"}, "form: one of .* found 'gater'. Did you mean gather"),
        ({"rank": 1, "norm_between": True}, "norm_between: requires method fresh, found method 'auto'"),
        ({"rank": 1, "structures": "dw_pw"}, r"structures: a list of names is needed, such as \['dw_pw'\]"),
        ({"rank": 1, "structures": []}, "structures: at least one of pw_dw_pw, dw_pw, .* is needed, found none"),
        ({"rank": 1, "structures": ["lowrank"]}, "structures: one of .* found 'lowrank'. Did you mean low_rank"),
        (
            {"rank": 1, "structures": ["dw_pw", "low_rank"], "method": "fresh", "norm_between": True},
            "norm_between: requires the structures dw_pw or pw_dw, found low_rank",
        ),
    ],
)
def test_contradictions_and_unknown_words_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        Request(**arguments)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_a_share_is_above_0_and_up_to_1(share: float) -> None:
    with pytest.raises(ConversionError, match=f"budget macs: a share above 0 and up to 1 is needed, found {share}"):
        Budget(Cost.MACS, share)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0.5, r"a mapping such as .'macs': 0.5. or a dsft.Budget is needed, found 0.5"),
        ({"mac": 0.5}, "unknown key 'mac', expected some of macs, .* Did you mean macs"),
        ({"macs": 0.5, "mac": 1}, "unknown key 'mac'"),
        ({"macs": "0.5"}, "a share above 0 and up to 1 is needed, found '0.5'"),
        ({"macs": True}, "found True"),
        ({"macs": None}, "found None"),
        ({}, "exactly one of macs, params, latency, max_drop is needed, found none"),
        ({"runtime": "eager"}, "found none"),
        ({"macs": 0.5, "params": 0.5}, "found macs and params"),
        ({"macs": 0.5, "by": "params"}, "by: names the cost that max_drop minimizes"),
        (
            {"latency": 0.5, "runtime": "onnx"},
            "budget runtime: one of eager, compiled, onnxruntime, .* is needed, found 'onnx'",
        ),
        ({"max_drop": -1}, "budget max_drop: a number of at least 0 is needed, found -1"),
        ({"max_drop": float("nan")}, "found nan"),
        ({"max_drop": "1"}, "found '1'"),
        ({"max_drop": True}, "found True"),
        ({"max_drop": 1, "by": "flops"}, "budget by: one of macs, params, latency is needed, found 'flops'"),
        ({"max_drop": 1, "macs": 0.5}, "found macs and max_drop"),
    ],
)
def test_budgets_of_another_form_are_errors(budget: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=f"budget.*: .*{message}|{message}"):
        Request(budget=budget)


def test_budgets_are_read_in_every_notation() -> None:
    assert read_budget(None) is None
    assert read_budget({"macs": 1}) == Budget(Cost.MACS, 1.0)
    assert read_budget({"max_drop": 1, "by": "params"}) == MaxDrop(1, Cost.PARAMS)
    assert read_budget({"max_drop": 0.5}) == MaxDrop(0.5, Cost.MACS)
    latency = Budget(Cost.LATENCY, 0.5, Runtime.ONNXRUNTIME)
    assert read_budget({"latency": 0.5, "runtime": "onnxruntime"}) == latency
    text: Any = ("latency", 0.5, "onnxruntime")
    assert Budget(*text) == read_budget(latency) == latency
    assert Request(budget=latency).runtime is Runtime.ONNXRUNTIME
    assert Request(rank=1).runtime is Runtime.EAGER


@pytest.mark.parametrize("budget", [{"latency": 0.5}, {"macs": 0.5}, {"max_drop": 1.0}])
def test_a_runtime_that_cannot_time_layers_is_an_error(budget: dict[str, float]) -> None:
    with pytest.raises(
        ConversionError,
        match=r"budget runtime: .* which compiled does not .* Use eager or onnxruntime or openvino or executorch\.",
    ):
        Request(budget={**budget, "runtime": "compiled"})


def test_a_budget_limits_a_cost_or_a_loss_of_score() -> None:
    request = Request(budget={"max_drop": 1, "by": "params"})
    assert (request.cost_budget, request.max_drop) == (None, MaxDrop(1, Cost.PARAMS))
    request = Request(budget={"params": 0.4})
    assert (request.cost_budget, request.max_drop) == (Budget(Cost.PARAMS, 0.4), None)


def test_words_may_be_plain_text() -> None:
    texts: dict[str, Any] = {"method": "fresh", "structures": ["pw_dw"], "form": "gather"}
    request = Request(rank="full", **texts)
    assert (request.method, request.structures, request.form) == (Method.FRESH, (Structure.PW_DW,), Form.GATHER)
    words = (request.method, *request.structures, request.form)
    assert all(isinstance(word, Method | Structure | Form) for word in words)


@pytest.mark.parametrize(
    ("names", "order", "structures"),
    [
        ("pw_dw,dw_pw", None, ["pw_dw", "dw_pw"]),
        ("auto", "dw_pw", ["dw_pw"]),
        (None, "pw_dw", ["pw_dw"]),
        ("low_rank,pw_dw", None, ["low_rank", "pw_dw"]),
        ("dw_pw,pw_dw,low_rank", "dw_pw", ["dw_pw", "low_rank"]),
    ],
)
def test_the_command_line_names_structures(names: str | None, order: str | None, structures: list[str]) -> None:
    assert list(read_structures(names, order)) == structures


@pytest.mark.parametrize("names", [None, "auto"])
def test_the_command_line_leaves_structures_open(names: str | None) -> None:
    assert read_structures(names, None) == "auto"


@pytest.mark.parametrize(
    ("names", "order", "message"),
    [
        ("dw,pw_dw", None, "--structures: one of auto, pw_dw_pw, dw_pw, pw_dw, low_rank is needed, found 'dw'"),
        (None, "auto", "--order: one of dw_pw, pw_dw is needed, found 'auto'"),
        ("low_rank,pw_dw", "dw_pw", "--order: dw_pw is not among --structures low_rank,pw_dw"),
    ],
)
def test_wrong_names_of_structures_are_errors(names: str | None, order: str | None, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        read_structures(names, order)


def test_auto_fits_the_weights_where_there_is_calibration_data() -> None:
    assert Request(rank=1).choose_method(has_calibration=False) is Method.SVD
    assert Request(rank=1).choose_method(has_calibration=True) is Method.REFIT
    assert Request(rank=1, method=Method.FRESH).choose_method(has_calibration=True) is Method.FRESH
