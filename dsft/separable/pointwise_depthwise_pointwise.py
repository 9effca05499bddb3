"""Layers of three convolutions: pointwise, depthwise, pointwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.separable.composed import ComposedKernel
from dsft.separable.factored import EqualGroupsConv, PaddingMode, TransposedArguments
from dsft.separable.kernel_order import swap_channels
from dsft.separable.pointwise import POINTWISE, can_change_layout, into_channels_last, into_contiguous


class PointwiseDepthwisePointwiseConv(EqualGroupsConv):
    r"""A pointwise, a depthwise and a pointwise convolution that replace a dense one; the base class of the layers.

    Within each group, ``expand`` computes :math:`R` maps from the input channels, ``depthwise`` filters each by one
    kernel, and ``project`` computes the output channels from those: :math:`W_{m,c,k} = \sum_r b_{m,r} d_{r,k} a_{r,c}`
    (Lebedev et al. 2015, "Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition", with the
    spatial axes as one). It is the block of MobileNetV2 (Sandler et al. 2018) without norms and activations.

    ``expand`` runs at the size of the input, and ``project`` at that of the output. ``expand`` has no bias, so that the
    depthwise convolution may pad its maps with zeros as the dense one pads its input.

    The positional arguments are those of the torch convolution, in the same order.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Size of the depthwise kernels.
        stride: Stride of the depthwise convolution.
        padding: Padding of the depthwise convolution, as torch's convolutions take it.
        dilation: Dilation of the depthwise convolution.
        groups: Number of blocked connections from input channels to output channels.
        bias: Whether ``project`` adds a learnable bias.
        padding_mode: Padding mode of the depthwise convolution, as torch's convolutions take it.
        device: Device of the parameters.
        dtype: Data type of the parameters.
        kernels: Depthwise kernels of each group, equal in all groups: the width :math:`R`.
        output_padding: Additional size of one side of the output of a transposed convolution.

    Raises:
        ValueError: ``kernels`` is not one number of at least 1 for all groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernels: int | Sequence[int],
        output_padding: int | tuple[int, ...] = 0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
        )
        self.kernels = self._read_kernels(kernels)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        build = POINTWISE[self.dimensions]
        self.expand: Convolution = build(in_channels, self.width, 1, groups=groups, bias=False, **options)
        self.depthwise: Convolution = self.dense_class(
            self.width,
            self.width,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.width,
            bias=False,
            padding_mode=self.padding_mode,
            **({"output_padding": self.output_padding} if self.transposed else {}),
            **options,
        )
        self.project: Convolution = build(self.width, out_channels, 1, groups=groups, bias=bias, **options)

    @property
    def width(self) -> int:
        """Number of depthwise kernels over all groups."""
        return sum(self.kernels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Convolve ``(batch, in_channels, *size)`` or an unbatched ``(in_channels, *size)``."""
        output: Tensor = self.project(self.depthwise(self.expand(input)))
        return output

    @property
    def structure(self) -> Structure:
        """``pw_dw_pw``."""
        return Structure.PW_DW_PW

    @property
    def last(self) -> Convolution:
        """The module that computes the output and holds the bias."""
        return self.project

    @property
    def weight(self) -> Tensor:
        """The composed dense kernel, in the shape of the dense convolution's weight; see :class:`FactoredConv`."""
        groups, kernels = self.groups, self.kernels[0]
        expand = self.expand.weight.reshape(groups, kernels, -1)
        depthwise = self.depthwise.weight.reshape(groups, kernels, -1)
        project = self.project.weight.reshape(groups, -1, kernels)
        terms = (expand.unsqueeze(3) * depthwise.unsqueeze(2)).flatten(2)
        kernel = (project @ terms).reshape(self.out_channels, -1, *self.kernel_size)
        kernel = swap_channels(kernel, groups) if self.transposed else kernel
        return kernel.contiguous().as_subclass(ComposedKernel)

    @torch.no_grad()
    def set_factors(self, expand: Tensor, depthwise: Tensor, project: Tensor) -> None:
        """Copy the factors into the layer.

        Args:
            expand: ``(width, in_channels / groups, 1, ...)``.
            depthwise: ``(width, 1, *kernel_size)``.
            project: ``(out_channels, width / groups, 1, ...)``.
        """
        self.expand.weight.copy_(expand)
        self.depthwise.weight.copy_(depthwise)
        self.project.weight.copy_(project)

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the factors as :meth:`set_factors` takes them."""
        return self.expand.weight.detach(), self.depthwise.weight.detach(), self.project.weight.detach()

    def extra_repr(self) -> str:
        """Return the description that ``print(model)`` shows."""
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{self.in_channels}, {self.out_channels}, {sizes}, width={self.width}"


class PointwiseDepthwisePointwiseConv1d(PointwiseDepthwisePointwiseConv):
    """Replaces an ``nn.Conv1d``; see :class:`PointwiseDepthwisePointwiseConv`."""

    dimensions = 1
    dense_class = nn.Conv1d


class PointwiseDepthwisePointwiseConv2d(PointwiseDepthwisePointwiseConv):
    """Replaces an ``nn.Conv2d``; see :class:`PointwiseDepthwisePointwiseConv`.

    On the CPU the depthwise convolution of a contiguous input runs in channels_last where that costs nothing, see
    :func:`dsft.separable.pointwise.can_change_layout`; the output is contiguous again.
    """

    dimensions = 2
    dense_class = nn.Conv2d

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, height, width)``."""
        expand, project = self.expand, self.project
        if not can_change_layout(input, expand, project):
            return super().forward(input)
        return into_contiguous(project, self.depthwise(into_channels_last(expand, input)))


class PointwiseDepthwisePointwiseConv3d(PointwiseDepthwisePointwiseConv):
    """Replaces an ``nn.Conv3d``; see :class:`PointwiseDepthwisePointwiseConv`."""

    dimensions = 3
    dense_class = nn.Conv3d


class PointwiseDepthwisePointwiseConvTranspose2d(TransposedArguments, PointwiseDepthwisePointwiseConv):
    """Replaces an ``nn.ConvTranspose2d``: the depthwise convolution is transposed, the pointwise ones are not.

    See :class:`PointwiseDepthwisePointwiseConv`.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Convolve ``(batch, in_channels, height, width)``, or unbatched, to an ``output_size`` as torch takes it."""
        depthwise: Any = self.depthwise
        output: Tensor = self.project(depthwise(self.expand(input), output_size=output_size))
        return output


PW_DW_PW_CLASSES: dict[type[Convolution], type[PointwiseDepthwisePointwiseConv]] = {
    nn.Conv1d: PointwiseDepthwisePointwiseConv1d,
    nn.Conv2d: PointwiseDepthwisePointwiseConv2d,
    nn.Conv3d: PointwiseDepthwisePointwiseConv3d,
    nn.ConvTranspose2d: PointwiseDepthwisePointwiseConvTranspose2d,
}
"""The layer that replaces each class of dense convolution."""
