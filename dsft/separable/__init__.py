"""The depthwise-separable layers: modules that stand where a standard convolution stood."""

from dsft.separable.conv2d import DepthwiseSeparableConv2d

__all__ = ["DepthwiseSeparableConv2d"]
