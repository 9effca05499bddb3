from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dsft.choices import Structure
from dsft.runtimes import graph_of, trace_folded
from dsft.runtimes.equalization import equalized_channels
from dsft.separable import (
    DepthwiseSeparableConv2d,
    LowRankConv2d,
    PointwiseDepthwisePointwiseConv2d,
    PointwiseDepthwisePointwiseConvTranspose2d,
)
from tests.zoo import redraw

IMAGES = 3


def maps_between(graph: torch.fx.GraphModule, images: Tensor) -> list[Tensor]:
    """Return the outputs of the convolutions that another one reads directly, by running the graph node by node."""
    found: list[Tensor] = []

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            output = super().run_node(n)
            if "conv" in str(n.target) and any("conv" in str(user.target) for user in n.users):
                found.append(output)
            return output

    with torch.no_grad():
        Recorder(graph).run(images)
    return found


LAYERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "pw_dw_pw": (lambda: PointwiseDepthwisePointwiseConv2d(4, 6, 3, padding=1, kernels=5), 2),
    "pw_dw_pw in groups": (lambda: PointwiseDepthwisePointwiseConv2d(4, 6, 3, kernels=3, groups=2, bias=False), 2),
    "pw_dw_pw transposed": (lambda: PointwiseDepthwisePointwiseConvTranspose2d(4, 6, 3, stride=2, kernels=5), 2),
    "low_rank": (lambda: LowRankConv2d(4, 6, 1, kernels=3), 1),
    "dw_pw": (lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=(2, 2, 2, 2)), 1),
    "pw_dw": (lambda: DepthwiseSeparableConv2d(4, 6, 3, kernels=(1,) * 6, order=Structure.PW_DW), 1),
    "a bias between": (lambda: nn.Sequential(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 3, groups=1)), 1),
    "transposed in groups": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2), nn.ConvTranspose2d(6, 6, 2, groups=3)),
        1,
    ),
    "a norm behind": (
        lambda: nn.Sequential(PointwiseDepthwisePointwiseConv2d(4, 6, 3, kernels=5), nn.BatchNorm2d(6), nn.ReLU()),
        2,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_maps_between_convolutions_have_equal_ranges_and_the_output_is_the_same(name: str) -> None:
    build, between = LAYERS[name]
    torch.manual_seed(0)
    network = redraw(build()).eval()
    images = torch.randn(IMAGES, 4, 7, 7)
    program, _ = trace_folded(network, images)
    before = {key: value.clone() for key, value in program.state_dict.items()}
    with torch.no_grad():
        expected = network(images)
    unequal = maps_between(graph_of(program), images)
    with equalized_channels(program, torch.split(images, 1)):
        graph = graph_of(program)
        with torch.no_grad():
            torch.testing.assert_close(graph(images), expected, rtol=1e-4, atol=1e-5)
        equal = maps_between(graph, images)
    assert len(equal) == between
    for ours, theirs in zip(equal, unequal, strict=True):
        largest = ours.abs().amax((0, 2, 3))
        torch.testing.assert_close(largest, theirs.abs().max().expand_as(largest), rtol=1e-4, atol=1e-6)
    assert all(torch.equal(program.state_dict[key], value) for key, value in before.items())


class Twice(nn.Module):
    """A layer that runs twice, and one whose output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(self.shared(self.shared(images)))
        output: Tensor = maps + self.second(maps).relu()
        return output


@pytest.mark.parametrize("build", [Twice, lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))])
def test_other_convolutions_are_left_alone(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    images = torch.randn(IMAGES, 4, 7, 7)
    program, _ = trace_folded(build().eval(), images)
    before = dict(program.state_dict)
    with equalized_channels(program, [images]):
        assert all(program.state_dict[key] is value for key, value in before.items())


def test_a_channel_that_is_always_zero_and_one_that_is_not_a_number() -> None:
    torch.manual_seed(0)
    dead = PointwiseDepthwisePointwiseConv2d(4, 6, 3, kernels=5).eval()
    with torch.no_grad():
        dead.expand.weight[0] = 0
    images = torch.randn(IMAGES, 4, 7, 7)
    program, _ = trace_folded(dead, images)
    with equalized_channels(program, [images]), torch.no_grad():
        torch.testing.assert_close(graph_of(program)(images), dead(images), rtol=1e-4, atol=1e-5)
    before = dict(program.state_dict)
    with equalized_channels(program, [images * torch.nan]):
        assert all(program.state_dict[key] is value for key, value in before.items())
