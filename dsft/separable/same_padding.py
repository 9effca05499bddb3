"""Convolutions with TensorFlow's ``SAME`` padding, which depends on the size of the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from dsft.choices import Form
from dsft.separable.layers import DepthwiseSeparableConv2d
from dsft.separable.pointwise_depthwise_pointwise import PointwiseDepthwisePointwiseConv2d


class SameConv2d(nn.Conv2d):
    """A dense convolution whose output has ``ceil(size / stride)`` positions per side, like timm's ``Conv2dSame``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Pad and convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, ...)``."""
        return super().forward(_padded(self, input))


class DepthwiseSeparableConv2dSame(DepthwiseSeparableConv2d):
    """Replaces timm's ``Conv2dSame`` and similar classes; see :class:`DepthwiseSeparableConv2d`.

    The depthwise convolution pads, so that with ``pw_dw`` the pointwise one runs on the unpadded image.
    """

    dense_class = SameConv2d

    def _convolve(self, images: Tensor, **wanted: Any) -> Tensor:
        # This form uses the weight of the depthwise convolution without calling it.
        return super()._convolve(_padded(self, images) if self.form is Form.PASSES else images, **wanted)


class PointwiseDepthwisePointwiseConv2dSame(PointwiseDepthwisePointwiseConv2d):
    """Replaces timm's ``Conv2dSame`` and similar classes; the depthwise convolution pads.

    See :class:`PointwiseDepthwisePointwiseConv2d`.
    """

    dense_class = SameConv2d


def _padded(layer: nn.Conv2d | DepthwiseSeparableConv2d, images: Tensor) -> Tensor:
    sides: list[int] = []
    for axis in (1, 0):
        size, kernel, stride, dilation = (
            images.shape[axis - 2],
            layer.kernel_size[axis],
            layer.stride[axis],
            layer.dilation[axis],
        )
        missing = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        sides += [missing // 2, missing - missing // 2]
    return functional.pad(images, sides)
