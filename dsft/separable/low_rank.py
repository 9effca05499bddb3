"""The low-rank layers: two 1x1 convolutions that replace one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.separable.composed import ComposedKernel
from dsft.separable.factored import EqualGroupsConv, PaddingMode
from dsft.separable.pointwise import POINTWISE


class LowRankConv(EqualGroupsConv):
    r"""Two 1x1 convolutions that replace one; the base class of the layers.

    Within each group the first computes ``rank`` maps from the input channels, and the second the output channels from
    those: :math:`W = B A` with :math:`A` of ``(rank, in_channels / groups)`` and :math:`B` of ``(out_channels /
    groups, rank)`` (Jaderberg et al. 2014, "Speeding up Convolutional Neural Networks with Low Rank Expansions", for
    1x1 kernels). The first has the stride and the padding, so that the second runs at the size of the output.

    The positional arguments are those of the torch convolution, in the same order.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: 1 along every axis.
        stride: Stride of the first convolution.
        padding: Padding of the first convolution, as torch's convolutions take it.
        dilation: Stored, and without effect on a 1x1 kernel.
        groups: Number of blocked connections from input channels to output channels.
        bias: Whether the second convolution adds a learnable bias.
        padding_mode: Padding mode of the first convolution, as torch's convolutions take it.
        device: Device of the parameters.
        dtype: Data type of the parameters.
        kernels: Rank of each group, equal in all groups: the number of kernels of the first convolution.

    Raises:
        ValueError: ``kernels`` is not one rank of at least 1 for all groups, or the kernel is not 1x1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...] = 1,
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
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=0,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
        )
        if set(self.kernel_size) != {1}:
            raise ValueError(f"kernel_size: expected 1, found {self.kernel_size}")
        self.kernels = self._read_kernels(kernels)
        build, total = POINTWISE[self.dimensions], sum(self.kernels)
        self.first: Convolution = build(
            in_channels,
            total,
            1,
            stride=stride,
            padding=padding,
            groups=groups,
            bias=False,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        self.second: Convolution = build(total, out_channels, 1, groups=groups, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Convolve ``(batch, in_channels, *size)`` or an unbatched ``(in_channels, *size)``."""
        output: Tensor = self.second(self.first(input))
        return output

    @property
    def structure(self) -> Structure:
        """``low_rank``."""
        return Structure.LOW_RANK

    @property
    def last(self) -> Convolution:
        """The module that computes the output and holds the bias."""
        return self.second

    @property
    def weight(self) -> Tensor:
        """The composed dense kernel, ``(out_channels, in_channels / groups, 1, ...)``; see :class:`FactoredConv`."""
        first = self.first.weight.reshape(self.groups, self.kernels[0], -1)
        second = self.second.weight.reshape(self.groups, -1, self.kernels[0])
        kernel = (second @ first).reshape(self.out_channels, -1, *self.kernel_size)
        return kernel.contiguous().as_subclass(ComposedKernel)

    @torch.no_grad()
    def set_factors(self, first: Tensor, second: Tensor) -> None:
        """Copy both factors into the layer.

        Args:
            first: ``(kernels, in_channels / groups, 1, ...)``.
            second: ``(out_channels, kernels / groups, 1, ...)``.
        """
        self.first.weight.copy_(first)
        self.second.weight.copy_(second)

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return both factors as :meth:`set_factors` takes them."""
        return self.first.weight.detach(), self.second.weight.detach()

    def extra_repr(self) -> str:
        """Return the description that ``print(model)`` shows."""
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}, kernels={sum(self.kernels)}"


class LowRankConv1d(LowRankConv):
    """Replaces a 1x1 ``nn.Conv1d``; see :class:`LowRankConv`."""

    dimensions = 1
    dense_class = nn.Conv1d


class LowRankConv2d(LowRankConv):
    """Replaces a 1x1 ``nn.Conv2d``; see :class:`LowRankConv`."""

    dimensions = 2
    dense_class = nn.Conv2d


class LowRankConv3d(LowRankConv):
    """Replaces a 1x1 ``nn.Conv3d``; see :class:`LowRankConv`."""

    dimensions = 3
    dense_class = nn.Conv3d


LOW_RANK_CLASSES: dict[type[Convolution], type[LowRankConv]] = {
    nn.Conv1d: LowRankConv1d,
    nn.Conv2d: LowRankConv2d,
    nn.Conv3d: LowRankConv3d,
}
"""The layer that replaces each class of dense 1x1 convolution."""
