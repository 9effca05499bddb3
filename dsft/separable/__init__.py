"""The layers that replace a dense convolution: depthwise-separable, pointwise-depthwise-pointwise and low-rank ones."""

from dsft.separable.base import DepthwiseSeparableConv
from dsft.separable.factored import FactoredConv
from dsft.separable.forms import allowed_forms
from dsft.separable.kernel_order import kernel_channels, kernel_ranks, swap_channels
from dsft.separable.layers import (
    SEPARABLE_CLASSES,
    DepthwiseSeparableConv1d,
    DepthwiseSeparableConv2d,
    DepthwiseSeparableConv3d,
    DepthwiseSeparableConvTranspose2d,
)
from dsft.separable.low_rank import LOW_RANK_CLASSES, LowRankConv, LowRankConv1d, LowRankConv2d, LowRankConv3d
from dsft.separable.pointwise_depthwise_pointwise import (
    PW_DW_PW_CLASSES,
    PointwiseDepthwisePointwiseConv,
    PointwiseDepthwisePointwiseConv1d,
    PointwiseDepthwisePointwiseConv2d,
    PointwiseDepthwisePointwiseConv3d,
    PointwiseDepthwisePointwiseConvTranspose2d,
)

__all__ = [
    "LOW_RANK_CLASSES",
    "PW_DW_PW_CLASSES",
    "SEPARABLE_CLASSES",
    "DepthwiseSeparableConv",
    "DepthwiseSeparableConv1d",
    "DepthwiseSeparableConv2d",
    "DepthwiseSeparableConv3d",
    "DepthwiseSeparableConvTranspose2d",
    "FactoredConv",
    "LowRankConv",
    "LowRankConv1d",
    "LowRankConv2d",
    "LowRankConv3d",
    "PointwiseDepthwisePointwiseConv",
    "PointwiseDepthwisePointwiseConv1d",
    "PointwiseDepthwisePointwiseConv2d",
    "PointwiseDepthwisePointwiseConv3d",
    "PointwiseDepthwisePointwiseConvTranspose2d",
    "allowed_forms",
    "kernel_channels",
    "kernel_ranks",
    "swap_channels",
]
