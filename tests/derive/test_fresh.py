from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dsft.derive import fresh_factors


def test_keeps_the_variance_that_a_relu_needs() -> None:
    kernels = [3] * 128
    factors = fresh_factors(torch.empty(256, 128, 3, 3), 1, kernels, torch.Generator().manual_seed(0))
    images = torch.randn(4, 128, 16, 16).repeat_interleave(3, 1)
    outputs = functional.conv2d(functional.conv2d(images, factors.depthwise, groups=384), factors.pointwise)
    # He et al. 2015: the second moment before the ReLU is twice that of the input.
    assert float(outputs.square().mean()) == pytest.approx(2.0, rel=0.1)


def test_the_seed_decides() -> None:
    weight = torch.empty(4, 3, 3, 3)
    drawn = [fresh_factors(weight, 1, [1, 2, 1], torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0].depthwise, drawn[1].depthwise)
    assert torch.equal(drawn[0].pointwise, drawn[1].pointwise)
    assert not torch.equal(drawn[0].pointwise, drawn[2].pointwise)
