"""The depthwise-separable layers, one for each class of convolution that they can replace."""

from __future__ import annotations

from torch import Tensor, nn

from dsft.compat.torch_convolution import Convolution
from dsft.separable.base import DepthwiseSeparableConv
from dsft.separable.factored import TransposedArguments


class DepthwiseSeparableConv1d(DepthwiseSeparableConv):
    """Replaces an ``nn.Conv1d``; see :class:`DepthwiseSeparableConv`."""

    dimensions = 1
    dense_class = nn.Conv1d


class DepthwiseSeparableConv2d(DepthwiseSeparableConv):
    """Replaces an ``nn.Conv2d``; see :class:`DepthwiseSeparableConv`."""

    dimensions = 2
    dense_class = nn.Conv2d


class DepthwiseSeparableConv3d(DepthwiseSeparableConv):
    """Replaces an ``nn.Conv3d``; see :class:`DepthwiseSeparableConv`."""

    dimensions = 3
    dense_class = nn.Conv3d


class DepthwiseSeparableConvTranspose2d(TransposedArguments, DepthwiseSeparableConv):
    """Replaces an ``nn.ConvTranspose2d``: the depthwise convolution is transposed, the pointwise one is not.

    The pointwise convolution of ``dw_pw`` runs at the size of the output, that of ``pw_dw`` at the size of the input,
    which is smaller if the stride is above 1. See :class:`DepthwiseSeparableConv`.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Convolve ``(batch, in_channels, height, width)``, or unbatched, to an ``output_size`` as torch takes it."""
        return self._convolve(input, output_size=output_size)


SEPARABLE_CLASSES: dict[type[Convolution], type[DepthwiseSeparableConv]] = {
    nn.Conv1d: DepthwiseSeparableConv1d,
    nn.Conv2d: DepthwiseSeparableConv2d,
    nn.Conv3d: DepthwiseSeparableConv3d,
    nn.ConvTranspose2d: DepthwiseSeparableConvTranspose2d,
}
"""The layer that replaces each class of dense convolution."""
