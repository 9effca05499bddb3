from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsft.choices import Reason
from dsft.conversion import convert
from dsft.conversion.discovery.sites import find_sites
from dsft.errors import ConversionError, ModelError

IMAGES = torch.randn(2, 4, 8, 8)


class RunAndRead(nn.Module):
    """A convolution that runs, and whose kernel or format is used beside."""

    def __init__(self, read: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.read = read
        self.view = self.conv.weight.detach()

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.conv(images)
        if self.read == "weight":
            return functional.conv2d(output, self.conv.weight, padding=1)
        if self.read == "penalty":
            return output + torch.stack([self.conv.weight, self.conv.weight]).square().mean()
        if self.read == "view":
            return output * self.view.mean()
        return output.to(self.conv.weight.dtype).reshape(-1, self.conv.weight.shape[0], 8, 8)


class Unbound(nn.Module):
    """Runs the convolution's own pass without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv.forward(images)


class Held(nn.Module):
    """Runs a convolution from a list of its own, or from a closure."""

    def __init__(self, *, closure: bool) -> None:
        super().__init__()
        self.conv = conv = nn.Conv2d(4, 4, 3)
        self.run: Any = (lambda images: conv(images)) if closure else {"steps": [self.conv]}

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.run(images) if callable(self.run) else self.run["steps"][0](images)
        return output


class ByKeyword(nn.Module):
    """Calls the convolution with a named argument, and twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.conv(input=images))  # type: ignore[no-any-return]


@pytest.mark.parametrize("read", ["weight", "penalty", "view"])
def test_kernels_that_are_read_beside_a_run_are_kept(read: str) -> None:
    (site,) = find_sites(RunAndRead(read), IMAGES)
    assert site.obstacle is Reason.WEIGHT_READ_OUTSIDE


def test_reading_shapes_and_formats_is_harmless() -> None:
    model = RunAndRead("format").eval()
    (site,) = find_sites(model, IMAGES)
    assert site.obstacle is None
    torch.testing.assert_close(convert(model, IMAGES, rank="full").model(IMAGES), model(IMAGES))


def test_a_pass_that_no_call_announces_is_kept() -> None:
    (site,) = find_sites(Unbound(), IMAGES)
    assert site.obstacle is Reason.WEIGHT_READ_OUTSIDE


def test_convolutions_in_lists_are_kept_and_in_closures_found_out() -> None:
    (site,) = find_sites(Held(closure=False), IMAGES)
    assert site.obstacle is Reason.OUTSIDE_MODULE_TREE
    with pytest.raises(ConversionError, match="layer 'conv': the network still runs the old convolution"):
        convert(Held(closure=True), IMAGES, rank=1)


def test_each_of_several_calls_counts() -> None:
    (site,) = find_sites(ByKeyword(), IMAGES)
    assert site.input_shapes == ((2, 4, 8, 8), (2, 4, 6, 6))
    assert site.positions == 36 + 16


@pytest.mark.parametrize("example", [torch.randn(2, 5, 8, 8), IMAGES.long(), "images", None])
def test_what_the_network_does_not_take_is_an_error(example: Any) -> None:
    conv = nn.Conv2d(4, 4, 3)
    with pytest.raises(
        ModelError, match=r"example_input: the network's forward pass fails on it \(\w+Error: .*\)\. Pass"
    ):
        find_sites(nn.Sequential(conv), example)
    assert not conv._forward_hooks
    assert not conv._forward_pre_hooks
