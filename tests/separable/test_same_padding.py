from __future__ import annotations

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame

from dsft.choices import Form, Structure
from dsft.separable.same_padding import DepthwiseSeparableConv2dSame, SameConv2d


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 2), (7, 5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 5)])
@pytest.mark.parametrize("order", [Structure.DW_PW, Structure.PW_DW])
def test_pads_as_timm_does(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], size: tuple[int, int], order: Structure
) -> None:
    kernels = (1, 2) * 2 if order is Structure.DW_PW else (1, 2, 2) * 2
    layer = DepthwiseSeparableConv2dSame(
        4, 6, kernel, kernels=kernels, order=order, stride=stride, dilation=dilation, groups=2
    )
    dense = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2)
    merged = layer.merge()
    assert type(merged) is SameConv2d
    dense.load_state_dict(merged.state_dict())
    images = torch.randn(2, 4, *size)
    torch.testing.assert_close(layer(images), dense(images))
    torch.testing.assert_close(merged(images), dense(images))
    torch.testing.assert_close(layer(images[0]), dense(images)[0])


@pytest.mark.parametrize("form", [Form.MULTIPLIER, Form.CONCATENATE, Form.GATHER, Form.PASSES])
def test_pads_alike_in_every_form(form: Form) -> None:
    layer = DepthwiseSeparableConv2dSame(4, 6, 3, kernels=(2,) * 4, form=form, stride=2)
    images = torch.randn(2, 4, 8, 7)
    torch.testing.assert_close(layer(images), layer.merge()(images))
