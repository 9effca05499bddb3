from __future__ import annotations

import pytest
import torch
from torch import nn

import dsft
from dsft.errors import ConversionError
from tests.quick_conversion import convert_quickly
from tests.zoo import Residual, Shared, redraw

IMAGES = torch.randn(1, 3, 16, 16)


def test_a_converted_network_passes_also_in_a_wrapper() -> None:
    network, plan = convert_quickly(redraw(Residual()).eval(), IMAGES)
    dsft.check_converted(network, plan)
    dsft.check_converted(nn.DataParallel(network), plan)
    shared, plan = convert_quickly(redraw(Shared()).eval(), torch.randn(1, 4, 8, 8))
    dsft.check_converted(shared, plan)


def test_a_dense_network_or_one_with_other_layers_does_not() -> None:
    dense = redraw(Residual()).eval()
    network, plan = convert_quickly(dense, IMAGES)
    total = len(plan.converted)
    with pytest.raises(ConversionError, match=rf"has 0 of the {total} converted layers .*The network was built anew"):
        dsft.check_converted(dense, plan)
    network.conv1 = nn.Conv2d(8, 8, 3, padding=1)
    with pytest.raises(ConversionError, match=rf"has {total - 1} of the {total} .*; 'conv1' is not converted"):
        dsft.check_converted(network, plan)
    other, _ = convert_quickly(dense, IMAGES, ("pw_dw_pw",))
    with pytest.raises(ConversionError, match=rf"has 0 of the {total} converted layers"):
        dsft.check_converted(other, plan)
