"""Depthwise-separable and low-rank layers, which replace a dense convolution."""

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

__all__ = [
    "LOW_RANK_CLASSES",
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
    "allowed_forms",
    "kernel_channels",
    "kernel_ranks",
    "swap_channels",
]
