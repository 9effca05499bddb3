"""What ``import dsft`` offers, and what it costs."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import dsft
from dsft import errors
from dsft.errors import ConversionError
from tests.zoo import Residual, redraw


def test_importing_it_loads_no_torch() -> None:
    code = (
        "import sys, dsft; dir(dsft); print(sorted({'torch', 'timm', 'numpy', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", dsft.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(dsft, name)
    assert value.__doc__
    assert value.__module__.startswith("dsft.")
    assert name in dir(dsft)


def test_the_version_is_that_of_the_package() -> None:
    assert dsft.__version__ == importlib.metadata.version("dsft")
    assert "__version__" in dir(dsft)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match=r"module 'dsft' has no attribute 'deploy'"):
        dsft.deploy  # type: ignore[attr-defined]  # noqa: B018 (reading it is the test)


def test_a_network_of_ones_own_is_converted_trained_saved_and_loaded(tmp_path: Path) -> None:
    model = redraw(Residual())
    images, targets = torch.randn(8, 3, 16, 16), torch.arange(8) % 5
    before = model.state_dict()["conv2.weight"].clone()
    conversion = dsft.convert(model, images[:1], budget={"macs": 0.5})
    assert torch.equal(model.state_dict()["conv2.weight"], before)
    assert isinstance(conversion, dsft.Conversion)
    assert isinstance(conversion.plan, dsft.ConversionPlan)
    assert conversion.report.converted.macs <= 0.5 * conversion.report.original.macs
    assert str(conversion.plan).splitlines()[0].endswith(f"({conversion.plan.macs_ratio:.3f})")
    optimizer = torch.optim.SGD(conversion.model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(conversion.model(images), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    dsft.save(conversion.model, tmp_path / "out", plan=conversion.plan)
    loaded = dsft.load(tmp_path / "out", skeleton=Residual())
    with torch.inference_mode():
        assert torch.equal(loaded(images), conversion.model.eval()(images))


def test_a_plan_is_made_first_and_applied_later() -> None:
    model, images = redraw(Residual()), torch.randn(1, 3, 16, 16)
    plan = dsft.plan_conversion(model, images, dsft.Request(rank=1))
    assert not any(isinstance(layer, dsft.DepthwiseSeparableConv2d) for layer in model.modules())
    expected = model(images)
    dsft.apply_plan(model, plan, dsft.factorize(model, plan))
    converted = [name for name, layer in model.named_modules() if isinstance(layer, dsft.DepthwiseSeparableConv2d)]
    assert converted == [layer.name for layer in plan.converted]
    assert dsft.ConversionPlan.from_dict(plan.to_dict()) == plan
    assert model(images).shape == expected.shape


def test_errors_can_be_caught_by_their_public_names() -> None:
    with pytest.raises(dsft.ConversionError) as caught:
        dsft.convert(Residual(), torch.randn(1, 3, 16, 16), rank=0)
    assert isinstance(caught.value, dsft.InputError)
    assert isinstance(caught.value, dsft.DsftError)
    known = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert known <= set(dsft.__all__)


@pytest.mark.parametrize("target", [{}, {"budget": {"macs": 0.5}, "rank": 1}])
def test_exactly_one_of_budget_and_rank(target: dict[str, dict[str, float] | int]) -> None:
    with pytest.raises(ConversionError, match="exactly one of budget and rank is needed"):
        dsft.convert(Residual(), torch.randn(1, 3, 16, 16), **target)  # type: ignore[arg-type]
