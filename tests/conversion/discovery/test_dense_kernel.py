from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization
from torchvision.ops import Conv2dNormActivation

import dsft
from dsft.choices import Reason
from dsft.conversion import convert
from dsft.conversion.discovery.sites import find_sites
from dsft.measure import run_example
from dsft.separable import DepthwiseSeparableConv2d
from tests.zoo import redraw

IMAGES = torch.randn(2, 4, 9, 8)


class Plain(nn.Conv2d):
    """A class of its own that changes nothing of the pass."""


class Doubling(nn.Conv2d):
    """A class of its own that changes what is inside the pass."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return super()._conv_forward(input, 2 * weight, bias)  # type: ignore[no-any-return]


CONVERTED: dict[str, Callable[[], nn.Module]] = {
    "Conv2dSame": lambda: Conv2dSame(4, 6, 3, 2),
    "StdConv2d": lambda: StdConv2d(4, 6, 3, 2),
    "StdConv2dSame": lambda: StdConv2dSame(4, 6, 3, 2),
    "StdConv2dSame at stride 1": lambda: StdConv2dSame(4, 6, 3),
    "ScaledStdConv2d": lambda: ScaledStdConv2d(4, 6, 3, gamma=1.7),
    "ScaledStdConv2dSame": lambda: ScaledStdConv2dSame(4, 6, (3, 5), 2, groups=2),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 6, 3)),
    "older weight_norm": lambda: nn.utils.weight_norm(nn.Conv2d(4, 6, 3)),
    "a class without a pass of its own": lambda: Plain(4, 6, 3),
}


def pruned() -> nn.Module:
    module = nn.Conv2d(4, 6, 3)
    prune.random_unstructured(module, "weight", 0.5)  # type: ignore[no-untyped-call]
    return module


def patched() -> nn.Module:
    module: Any = nn.Conv2d(4, 6, 3)
    module.forward = lambda images: 2 * nn.Conv2d.forward(module, images)
    return module  # type: ignore[no-any-return]


def normed_and_more() -> nn.Module:
    module: nn.Module = parametrizations.weight_norm(nn.Conv2d(4, 6, 3))
    return register_parametrization(module, "weight", nn.Identity())


KEPT: dict[str, tuple[Callable[[], nn.Module], Reason]] = {
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Conv2d(4, 6, 3)), Reason.COMPUTED_WEIGHT),
    "older spectral_norm": (lambda: nn.utils.spectral_norm(nn.Conv2d(4, 6, 3)), Reason.COMPUTED_WEIGHT),
    "weight_norm and more": (normed_and_more, Reason.COMPUTED_WEIGHT),
    "pruned": (pruned, Reason.COMPUTED_WEIGHT),
    "_conv_forward of its own": (lambda: Doubling(4, 6, 3), Reason.CUSTOM_CLASS),
    "patched forward": (patched, Reason.CUSTOM_CLASS),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("name", CONVERTED)
def test_known_kinds_convert_to_the_same_function_and_load(name: str, tmp_path: Path) -> None:
    model = redraw(nn.Sequential(CONVERTED[name](), nn.ReLU())).train()
    before = copy.deepcopy(model.state_dict())
    conversion = convert(model, IMAGES, rank="full")
    layer: Any = conversion.model.get_submodule("0")
    assert isinstance(layer, DepthwiseSeparableConv2d)
    assert layer.training
    torch.testing.assert_close(conversion.model(IMAGES), model(IMAGES), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    conversion.model(IMAGES).sum().backward()
    assert layer.depthwise.weight.grad is not None
    dsft.save(conversion.model, tmp_path / "model", plan=conversion.plan)
    loaded = dsft.load(tmp_path / "model", skeleton=nn.Sequential(CONVERTED[name](), nn.ReLU()))
    assert torch.equal(loaded(IMAGES), conversion.model(IMAGES))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("name", CONVERTED)
def test_frozen_kernels_stay_frozen_and_biases_as_they_are(name: str) -> None:
    model = CONVERTED[name]()
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key == "bias")
    layer: Any = convert(nn.Sequential(model), IMAGES, rank=1).model.get_submodule("0")
    assert not layer.depthwise.weight.requires_grad
    assert not layer.pointwise.weight.requires_grad
    assert layer.bias is None or layer.bias.requires_grad


@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated")
@pytest.mark.parametrize("name", KEPT)
def test_other_kinds_are_kept_with_the_reason(name: str) -> None:
    build, reason = KEPT[name]
    (site,) = find_sites(nn.Sequential(build()), IMAGES)
    assert site.obstacle is reason


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_and_exact_to_its_rounding(dtype: torch.dtype) -> None:
    model = redraw(nn.Sequential(Conv2dNormActivation(4, 8, 3), StdConv2d(8, 8, 3), Conv2dSame(8, 8, 3, 2)))
    model = model.to(dtype).eval()
    images = IMAGES.to(dtype)
    converted = convert(model, images, rank="full").model
    found, expected = run_example(converted, images).double(), run_example(model, images).double()
    assert {parameter.dtype for parameter in converted.parameters()} == {dtype}
    assert float((found - expected).norm() / expected.norm()) < 8 * torch.finfo(dtype).eps
    assert isinstance(converted.get_submodule("0.0"), DepthwiseSeparableConv2d)
