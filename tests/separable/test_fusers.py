"""What fusers of batch norms do to a convolution, done to the layers that replace one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import fuse_modules
from torch.ao.quantization.fuser_method_mappings import fuse_conv_bn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from dsft.errors import ConversionError
from dsft.separable import (
    DepthwiseSeparableConv1d,
    DepthwiseSeparableConv2d,
    DepthwiseSeparableConv3d,
    DepthwiseSeparableConvTranspose2d,
    FactoredConv,
    LowRankConv2d,
    PointwiseDepthwisePointwiseConv2d,
    PointwiseDepthwisePointwiseConv3d,
    PointwiseDepthwisePointwiseConvTranspose2d,
)
from dsft.separable.same_padding import DepthwiseSeparableConv2dSame

SIZES = {1: (9,), 2: (8, 7), 3: (5, 6, 4)}
NORMS: dict[int, type[Any]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LAYERS: dict[str, Callable[[], FactoredConv]] = {
    "dw_pw": lambda: DepthwiseSeparableConv2d(4, 6, 3, padding=1, kernels=[2, 0, 1, 3]),
    "dw_pw, no bias": lambda: DepthwiseSeparableConv2d(4, 6, 3, bias=False),
    "dw_pw, grouped": lambda: DepthwiseSeparableConv2d(4, 6, 3, groups=2, kernels=2),
    "dw_pw, 1d": lambda: DepthwiseSeparableConv1d(4, 6, 3, kernels=2),
    "dw_pw, 3d": lambda: DepthwiseSeparableConv3d(4, 6, 3),
    "dw_pw, same": lambda: DepthwiseSeparableConv2dSame(4, 6, 3, stride=2, kernels=2),
    "pw_dw": lambda: DepthwiseSeparableConv2d(4, 6, 3, order="pw_dw"),
    "pw_dw, sum": lambda: DepthwiseSeparableConv2d(4, 6, 3, order="pw_dw", kernels=[1, 3, 2, 1, 1, 2], bias=False),
    "pw_dw, grouped sum": lambda: DepthwiseSeparableConv2d(
        4, 6, 3, order="pw_dw", kernels=[2, 1, 1, 1, 2, 1], groups=2
    ),
    "pw_dw_pw": lambda: PointwiseDepthwisePointwiseConv2d(4, 6, 3, stride=2, kernels=5),
    "pw_dw_pw, 3d": lambda: PointwiseDepthwisePointwiseConv3d(4, 6, 3, groups=2, kernels=3),
    "low_rank": lambda: LowRankConv2d(4, 6, kernels=[2, 2], groups=2),
}
TRANSPOSED: dict[str, Callable[[], FactoredConv]] = {
    "dw_pw": lambda: DepthwiseSeparableConvTranspose2d(4, 6, 3, stride=2, kernels=2),
    "pw_dw": lambda: DepthwiseSeparableConvTranspose2d(4, 6, 3, order="pw_dw", kernels=2, groups=2),
    "pw_dw_pw": lambda: PointwiseDepthwisePointwiseConvTranspose2d(4, 6, 3, stride=2, kernels=5, groups=2),
}


def norm_for(layer: FactoredConv) -> Any:
    """Return a batch norm that changes its input, with a negative scale and one of zero."""
    norm = NORMS[layer.dimensions](layer.out_channels).eval()
    scales = torch.randn(layer.out_channels)
    scales[:2] = torch.tensor([0.0, -1.5])
    with torch.no_grad():
        norm.weight.copy_(scales)
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return norm


def images_for(layer: FactoredConv) -> Tensor:
    return torch.randn(2, layer.in_channels, *SIZES[layer.dimensions])


def factored(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if isinstance(part, FactoredConv)]


@pytest.mark.parametrize("kind", LAYERS)
def test_torch_fuses_a_norm_into_any_layer(kind: str) -> None:
    layer: Any = LAYERS[kind]().eval()
    norm, images = norm_for(layer), images_for(layer)
    before = layer(images)
    fused = fuse_conv_bn_eval(layer, norm)
    assert type(fused) is type(layer)
    torch.testing.assert_close(fused(images), norm(before), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fused.merge()(images), norm(before), rtol=1e-4, atol=1e-5)
    assert torch.equal(layer(images), before)


@pytest.mark.parametrize("kind", TRANSPOSED)
def test_a_transposed_layer_takes_the_kernel_in_the_layout_of_a_convolution(kind: str) -> None:
    layer: Any = TRANSPOSED[kind]().eval()
    norm, images, groups = norm_for(layer), images_for(layer), layer.groups
    expected = norm(layer(images))
    # (in_channels, out_channels / groups, ...) as (out_channels, in_channels / groups, ...), and back.
    width = layer.weight.shape[1]
    kernel = layer.weight.view(groups, 4 // groups, width, 3, 3).transpose(1, 2).reshape(6, 4 // groups, 3, 3)
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    kernel, layer.bias = fuse_conv_bn_weights(kernel, layer.bias, *statistics)
    kernel = kernel.view(groups, width, 4 // groups, 3, 3).transpose(1, 2).reshape(4, width, 3, 3)
    layer.weight = nn.Parameter(kernel)
    torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    layer: Any = LAYERS["dw_pw"]().eval().to(dtype)
    norm, images = norm_for(layer).to(dtype), images_for(layer).to(dtype)
    expected = norm(layer(images))
    tolerance = 0.1 if dtype is torch.bfloat16 else 1e-9
    torch.testing.assert_close(fuse_conv_bn_eval(layer, norm)(images), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "change",
    [
        lambda kernel: kernel + 1e-3,
        lambda kernel: torch.randn_like(kernel),
        lambda kernel: kernel * torch.linspace(0.5, 2, kernel.shape[1]).reshape(1, -1, 1, 1),  # of the inputs
        lambda kernel: torch.where(kernel.abs() < 0.05 * kernel.abs().max(), 0, kernel),  # pruned
        lambda kernel: kernel * float("nan"),
        lambda kernel: kernel[:, :, :2],
        lambda kernel: kernel.tolist(),
    ],
)
@pytest.mark.parametrize("kind", ["dw_pw", "pw_dw, sum", "pw_dw_pw"])
def test_any_other_kernel_is_refused_and_changes_nothing(kind: str, change: Callable[[Tensor], Tensor]) -> None:
    layer: Any = LAYERS[kind]().eval()
    images = images_for(layer)
    before = layer(images)
    with pytest.raises(AttributeError, match="must be the weight times one factor for each output channel"):
        layer.weight = change(layer.weight.detach().as_subclass(Tensor))
    assert torch.equal(layer(images), before)


def test_a_bias_of_another_shape_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"bias: expected the shape \(6,\), found \(5,\)"):
        LAYERS["dw_pw"]().bias = nn.Parameter(torch.zeros(5))  # type: ignore[misc]


def test_a_layer_with_a_norm_inside_is_refused() -> None:
    layer: Any = DepthwiseSeparableConv2d(4, 6, 3, norm_between=True).eval()
    with pytest.raises(ConversionError, match="not equivalent to a dense convolution"):
        fuse_conv_bn_eval(layer, norm_for(layer))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_torch_ao_fuses_layers_that_it_is_told_of_and_refuses_others() -> None:
    layer: Any = LAYERS["dw_pw"]()
    model = nn.Sequential(layer, norm_for(layer), nn.ReLU()).eval()
    images = images_for(layer)
    with pytest.raises(AssertionError, match="did not find fuser method"):
        fuse_modules(model, ["0", "1"])  # type: ignore[no-untyped-call]
    known = {"additional_fuser_method_mapping": {(type(layer), nn.BatchNorm2d): fuse_conv_bn}}
    fused = fuse_modules(model, ["0", "1"], fuse_custom_config_dict=known)  # type: ignore[no-untyped-call]
    assert isinstance(fused[1], nn.Identity)
    assert factored(fused)
    torch.testing.assert_close(fused(images), model(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(NotImplementedError, match="Cannot fuse train modules"):
        fuse_conv_bn(True, copy.deepcopy(layer).train(), nn.BatchNorm2d(6).train())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", ["dw_pw", "pw_dw", "pw_dw, sum", "pw_dw_pw", "low_rank"])
def test_a_fuser_of_traced_networks_gives_the_same_outputs(kind: str) -> None:
    layer: Any = LAYERS[kind]()
    model = nn.Sequential(layer, norm_for(layer), nn.ReLU()).eval()
    images = images_for(layer)
    torch.testing.assert_close(fuse(model)(images), model(images), rtol=1e-4, atol=1e-5)
