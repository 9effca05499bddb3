"""The depthwise-separable layers: modules that stand where a standard convolution stood."""

from dsft.separable.base import DepthwiseSeparableConv
from dsft.separable.forms import allowed_forms
from dsft.separable.kernels import kernel_channels, kernel_ranks, swap_channels
from dsft.separable.layers import (
    SEPARABLE_CLASSES,
    DepthwiseSeparableConv1d,
    DepthwiseSeparableConv2d,
    DepthwiseSeparableConv3d,
    DepthwiseSeparableConvTranspose2d,
)

__all__ = [
    "SEPARABLE_CLASSES",
    "DepthwiseSeparableConv",
    "DepthwiseSeparableConv1d",
    "DepthwiseSeparableConv2d",
    "DepthwiseSeparableConv3d",
    "DepthwiseSeparableConvTranspose2d",
    "allowed_forms",
    "kernel_channels",
    "kernel_ranks",
    "swap_channels",
]
