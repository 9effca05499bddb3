from __future__ import annotations

import torch
from torch import nn

from dsft.measure import count_macs, count_parameters
from tests.zoo import Residual, Shared


def test_macs_are_those_of_the_papers_formula() -> None:
    # Output positions times kernel positions times channels in and out; the linear head is in times out.
    expected = 64 * 9 * 3 * 8 + 64 * 9 * 8 * 8 + 16 * 9 * 8 * 16 + 16 * 8 * 16 + 16 * 5
    model = Residual().train()
    assert count_macs(model, torch.randn(1, 3, 8, 8)) == expected
    assert count_macs(model, torch.randn(6, 3, 8, 8)) == expected
    assert all(module.training for module in model.modules())


def test_groups_and_transposed_convolutions() -> None:
    images = torch.randn(1, 4, 8, 8)
    assert count_macs(nn.Conv2d(4, 8, 3, padding=1, groups=2), images) == 64 * 9 * 2 * 8
    assert count_macs(nn.ConvTranspose2d(4, 8, 3), images) == 64 * 9 * 4 * 8


def test_a_shared_parameter_is_counted_once() -> None:
    assert count_parameters(Shared()) == 4 * 4 * 9 + 4


def test_attention_is_counted_in_evaluation_mode_too() -> None:
    tokens, width = 10, 8
    layer = nn.TransformerEncoderLayer(width, 2, dim_feedforward=16, batch_first=True)
    # Four projections, two matrix products of attention, two layers of the feed-forward part.
    expected = tokens * (4 * width * width + 2 * 16 * width) + 2 * tokens * tokens * width
    assert count_macs(layer.eval(), torch.randn(1, tokens, width)) == expected
