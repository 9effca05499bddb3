from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dsft.choices import Structure
from dsft.conversion.factorization.fresh import fresh_factors
from dsft.separable import DepthwiseSeparableConv2d


def test_keeps_the_variance_that_a_relu_needs() -> None:
    kernels = [3] * 128
    factors = fresh_factors(torch.empty(256, 128, 3, 3), 1, kernels, torch.Generator().manual_seed(0))
    images = torch.randn(4, 128, 16, 16).repeat_interleave(3, 1)
    outputs = functional.conv2d(functional.conv2d(images, factors.depthwise, groups=384), factors.pointwise)
    # He et al. 2015: the second moment before the ReLU is twice that of the input.
    assert float(outputs.square().mean()) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("kernels", [[1] * 64, [3] * 64, [1, 5] * 32])
def test_pw_dw_keeps_it_too_whatever_the_number_of_kernels(kernels: list[int]) -> None:
    layer = DepthwiseSeparableConv2d(128, 64, 3, kernels=kernels, order=Structure.PW_DW, bias=False)
    weight = torch.empty(64, 128, 3, 3)
    factors = fresh_factors(weight, 1, kernels, torch.Generator().manual_seed(0), Structure.PW_DW)
    layer.set_factors(factors.depthwise, factors.pointwise)
    outputs = layer(torch.randn(8, 128, 16, 16)).detach()
    for few in (0, 1):
        assert float(outputs[:, few::2].square().mean()) == pytest.approx(2.0, rel=0.2)


def test_the_seed_decides() -> None:
    weight = torch.empty(4, 3, 3, 3)
    drawn = [fresh_factors(weight, 1, [1, 2, 1], torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0].depthwise, drawn[1].depthwise)
    assert torch.equal(drawn[0].pointwise, drawn[1].pointwise)
    assert not torch.equal(drawn[0].pointwise, drawn[2].pointwise)
