from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dsft.training.distillation.feature_hooks import FeatureHooks


class Skip(nn.Module):
    """A block whose ReLU works in place on a convolution's output that a skip connection uses too."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv, self.act, self.last = nn.Conv2d(2, 2, 1), nn.ReLU(inplace), nn.Conv2d(2, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.conv(images)
        activated: Tensor = self.last(self.act(found))
        return activated + found


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))


def test_outputs_are_captured_in_the_order_of_execution_and_only_in_the_context(images: Tensor) -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    net = nn.Sequential(second, first, second)
    hooks = FeatureHooks(net, ["1", "0"])
    net(images)
    with hooks.capture() as found:
        net(images)
    expected = [second(images), first(second(images)), second(first(second(images)))]
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    hooks.remove()
    with hooks.capture() as nothing:
        net(images)
    assert nothing == []


def test_operations_in_place_change_neither_what_is_captured_nor_the_network(images: Tensor) -> None:
    captured, outputs, gradients = [], [], []
    for inplace in (False, True):
        torch.manual_seed(0)
        net = Skip(inplace)
        plain = net(images)
        hooks = FeatureHooks(net, ["conv"])
        with hooks.capture() as features:
            output = net(images)
        assert torch.equal(output, plain)
        features[0].square().sum().backward()  # type: ignore[no-untyped-call]
        assert net.conv.weight.grad is not None
        captured.append(features[0])
        outputs.append(output)
        gradients.append(net.conv.weight.grad)
    # The networks differ: the skip connection of the second has been through the ReLU.
    assert not torch.equal(*outputs)
    assert torch.equal(*captured)
    assert torch.equal(*gradients)
