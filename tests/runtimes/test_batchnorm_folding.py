from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsft.choices import Form, Structure
from dsft.runtimes import fold_norms, graph_of, trace
from dsft.separable import DepthwiseSeparableConv2d, DepthwiseSeparableConvTranspose2d
from tests.zoo import redraw

UNEQUAL = (3, 1, 2, 2, 1, 3)


def norms_left(model: nn.Module, channels: int = 4) -> int:
    """Fold a network, check that it still answers as before, and count the norms that are left."""
    redraw(model).eval()
    images = torch.randn(3, channels, 6, 6)
    graph = graph_of(trace(model, images))
    count = fold_norms(graph)
    with torch.no_grad():
        torch.testing.assert_close(graph(images), model(images), rtol=1e-4, atol=1e-5)
    left = sum(node.target is torch.ops.aten.batch_norm.default for node in graph.graph.nodes)
    assert count + left == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return left


FOLDED: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(4, 6, 3, bias=False),
    "convolution with a bias": lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "dw_pw": lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=(2, 1, 3, 2)),
    "dw_pw in passes": lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=(2, 1, 3, 2), form=Form.PASSES),
    "dw_pw in groups": lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=(2, 1, 2, 1), groups=2, bias=False),
    "pw_dw": lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=(1,) * 6, order=Structure.PW_DW),
    "pw_dw with sums": lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=UNEQUAL, order=Structure.PW_DW),
    "pw_dw with sums, no bias": lambda: DepthwiseSeparableConv2d(
        4, 6, 3, kernels=UNEQUAL, order=Structure.PW_DW, bias=False
    ),
    "pw_dw transposed": lambda: DepthwiseSeparableConvTranspose2d(4, 6, 3, kernels=UNEQUAL, order=Structure.PW_DW),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_norm_behind_a_convolution_is_folded(name: str) -> None:
    assert norms_left(nn.Sequential(FOLDED[name](), nn.BatchNorm2d(6), nn.ReLU())) == 0


def test_a_norm_without_scale_and_shift_is_folded() -> None:
    assert norms_left(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False))) == 0


def test_a_number_that_is_added_before_the_norm_counts_once() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)

        def forward(self, images: Tensor) -> Tensor:
            return functional.relu(self.norm(self.conv(images) + 1.0))

    assert norms_left(Shifted()) == 0


def test_two_convolutions_whose_sum_is_normalised() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)
            self.norm = nn.BatchNorm2d(6)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.left(images) + self.right(images.relu()))  # type: ignore[no-any-return]

    assert norms_left(Sum()) == 0


def test_a_convolution_that_runs_twice_keeps_its_kernel_for_the_other_norm() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)
            self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            return self.second(self.conv(self.first(self.conv(images)).relu()))  # type: ignore[no-any-return]

    assert norms_left(Twice()) == 0


class SeenOutside(nn.Module):
    """A convolution whose output is used beside the norm, by ``use``."""

    def __init__(self, use: Callable[[Tensor, Tensor], Tensor], first: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = first or nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.use = use

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)
        return self.use(self.norm(features), features)


def test_a_norm_is_kept_where_something_else_sees_the_convolution() -> None:
    assert norms_left(SeenOutside(lambda normed, features: normed + features)) == 1
    assert norms_left(SeenOutside(lambda normed, features: normed * features.mean())) == 1
    summed = DepthwiseSeparableConv2d(4, 6, 3, kernels=UNEQUAL, order=Structure.PW_DW, padding=1)
    assert norms_left(SeenOutside(lambda normed, features: normed + features.relu(), summed)) == 1


@pytest.mark.parametrize(
    "between", [nn.ReLU(), nn.MaxPool2d(2), nn.ZeroPad2d(1)], ids=lambda module: type(module).__name__
)
def test_a_norm_is_kept_behind_anything_else(between: nn.Module) -> None:
    assert norms_left(nn.Sequential(nn.Conv2d(4, 6, 3), between, nn.BatchNorm2d(6))) == 1


def test_a_norm_is_kept_behind_what_is_added_position_by_position() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)
            self.places = nn.Parameter(torch.randn(6, 6, 6))

        def forward(self, images: Tensor) -> Tensor:
            return functional.relu(self.norm(self.conv(images) + self.places))

    assert norms_left(Positions()) == 1


class GeluBlocks(nn.Module):
    """Residual blocks whose activation reads its input twice once it is decomposed, as that of ConvMixer."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, groups=4) for _ in range(count))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(count))

    def forward(self, images: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            images = images + norm(functional.gelu(conv(images)))
        return images


def test_the_time_of_folding_does_not_double_with_each_residual_block() -> None:
    graph = trace(GeluBlocks(60).eval(), torch.randn(2, 4, 8, 8))
    started = time.process_time()
    # An activation stands before every norm, so none can be folded.
    assert fold_norms(graph_of(graph)) == 0
    assert time.process_time() - started < 20
