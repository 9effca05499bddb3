"""The base class of the depthwise-separable layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from dsft.choices import Form, Structure
from dsft.compat.torch_convolution import Convolution
from dsft.errors import ConversionError
from dsft.separable.composed import ComposedKernel
from dsft.separable.factored import FactoredConv, PaddingMode, factory_kwargs, geometry_of, scale_rows
from dsft.separable.forms import allowed_forms, pass_bounds, storage_order, whole_slices
from dsft.separable.kernel_order import kernel_channels, swap_channels
from dsft.separable.kernel_sum import KernelSum
from dsft.separable.pointwise import POINTWISE
from dsft.separable.rank_passes import run_passes

_NORM: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class DepthwiseSeparableConv(FactoredConv):
    r"""A depthwise and a pointwise convolution that replace a dense one; the base class of the layers.

    Order ``dw_pw``: input channel :math:`c` is filtered by ``kernels[c]`` depthwise kernels :math:`d_{c,r}`; the
    pointwise convolution sums their outputs with weights :math:`p_{m,c,r}`, so that the dense kernel is
    :math:`W_{m,c} = \sum_r p_{m,c,r} d_{c,r}`. Order ``pw_dw``: the pointwise convolution computes ``kernels[m]`` maps
    for output channel :math:`m`; each is filtered by its own kernel, and they are summed:
    :math:`W_{m,c} = \sum_r p_{m,r,c} d_{m,r}` (Guo et al. 2018, "Network Decoupling", eq. 4 and 5; with unequal
    numbers of kernels Dbouk & Shanbhag 2021, "Generalized Depthwise-Separable Convolutions", eq. 2).

    The positional arguments are those of the torch convolution, in the same order.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Size of the depthwise kernels.
        stride: Stride of the depthwise convolution.
        padding: Padding of the depthwise convolution, as torch's convolutions take it.
        dilation: Dilation of the depthwise convolution.
        groups: Number of blocked connections from input channels to output channels.
        bias: Whether to add a learnable bias to the output.
        padding_mode: Padding mode of the depthwise convolution, as torch's convolutions take it.
        device: Device of the parameters.
        dtype: Data type of the parameters.
        kernels: Depthwise kernels per input channel (``dw_pw``; 0 drops the channel) or per output channel
            (``pw_dw``; at least 1): one number for all channels, or one for each, with equal totals in all groups.
        order: Which convolution comes first, ``dw_pw`` or ``pw_dw``.
        form: How an input channel is fed to several kernels; None for the default that needs no measurement. It
            determines the order in which the weights are stored.
        output_padding: Additional size of one side of the output of a transposed convolution.
        norm_between: Insert a batch normalization and a ReLU between the two convolutions, as in MobileNet
            (Howard et al. 2017). The layer is then not equivalent to any dense convolution.

    Raises:
        ValueError: ``kernels`` does not fit the channels and groups, or the layer does not support the ``form``.
    """

    channels: Tensor
    """The channel that each depthwise kernel belongs to, ``(kernels,)``."""

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
        kernels: int | Sequence[int] = 1,
        order: Structure | str = Structure.DW_PW,
        form: Form | None = None,
        output_padding: int | tuple[int, ...] = 0,
        norm_between: bool = False,
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
        self.order, self.norm_between = _read_order(order), norm_between
        count = in_channels if self.order is Structure.DW_PW else out_channels
        self.kernels = (kernels,) * count if isinstance(kernels, int) else tuple(kernels)
        channels = self._kernel_channels(count)
        self.form = self._choose_form(form)
        self._storage = storage_order(self.kernels, groups, self.order, self.form)
        # A buffer, so that it moves with the module; it follows from `kernels`, so it is not in the state dict.
        stored = [channels[place] for place in self._storage]
        self.register_buffer("channels", torch.tensor(stored, device=device), persistent=False)
        self._build(stored, bias, device=device, dtype=dtype)

    def _kernel_channels(self, count: int) -> list[int]:
        return kernel_channels(self.kernels, count, self.groups, 0 if self.order is Structure.DW_PW else 1)

    def reset_indices(self) -> None:
        """Compute the buffers anew; see :class:`FactoredConv`."""
        channels = self._kernel_channels(len(self.kernels))
        self.channels.copy_(torch.tensor([channels[place] for place in self._storage]))
        if isinstance(self.sum, KernelSum):
            self.sum.reset_indices()

    def _choose_form(self, form: Form | None) -> Form | None:
        forms = allowed_forms(
            self.kernels, self.groups, self.order, transposed=self.transposed, norm_between=self.norm_between
        )
        if form is None:
            return forms[0] if forms else None
        if form not in forms:
            raise ValueError(f"form: expected one of {[str(each) for each in forms]}, found {str(form)!r}")
        return form

    def _build(self, channels: Sequence[int], bias: bool, **options: Any) -> None:
        """Build the two convolutions, the modules between them, and the final sum of ``pw_dw``."""
        total, is_first = len(channels), self.order is Structure.DW_PW
        is_summed = not is_first and set(self.kernels) != {1}
        shifts = {"output_padding": self.output_padding} if self.transposed else {}
        inputs = self.in_channels if self.form is Form.MULTIPLIER else total
        self.depthwise: Convolution = self.dense_class(
            inputs,
            total,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=inputs,
            bias=bias and not is_first and not is_summed,
            padding_mode=self.padding_mode,
            **shifts,
            **options,
        )
        ends = (total, self.out_channels) if is_first else (self.in_channels, total)
        self.pointwise: Convolution = POINTWISE[self.dimensions](
            *ends, 1, groups=self.groups, bias=bias and is_first, **options
        )
        between = [_NORM[self.dimensions](total, **options), nn.ReLU()] if self.norm_between else []
        self.between = nn.Sequential(*between)
        self.sum: nn.Module = nn.Identity()
        if is_summed:
            self.sum = KernelSum(self.kernels, channels, self.dimensions, bias=bias, **options)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (Conv2d's name, by which it may be called)
        """Convolve ``(batch, in_channels, *size)`` or an unbatched ``(in_channels, *size)``."""
        return self._convolve(input)

    def _convolve(self, images: Tensor, **wanted: Any) -> Tensor:
        """Run the layer; ``wanted`` are further arguments of the depthwise convolution."""
        output: Tensor
        if self.order is Structure.PW_DW:
            output = self.sum(self.depthwise(self.between(self.pointwise(images)), **wanted))
        elif self.form is Form.PASSES:
            bounds = pass_bounds(self.kernels, self.groups)
            output = run_passes(images, self.in_channels, self.depthwise, self.pointwise, self.channels, bounds)
        else:
            output = self.pointwise(self.between(self.depthwise(self._spread(images), **wanted)))
        return output

    def _spread(self, images: Tensor) -> Tensor:
        """Repeat each input channel once for every depthwise kernel that reads it."""
        axis = -1 - self.dimensions
        if self.form is None or self.form is Form.MULTIPLIER:
            return images
        if self.form is Form.GATHER:
            return images.index_select(axis, self.channels)
        # Concatenation copies whole blocks, whereas a gather in channels_last copies single numbers.
        slices = whole_slices(self.kernels, self.groups)
        pieces = [images if width == self.in_channels else images.narrow(axis, start, width) for start, width in slices]
        return torch.cat(pieces, axis)

    @property
    def structure(self) -> Structure:
        """``dw_pw`` or ``pw_dw``: the same as ``order``."""
        return self.order

    @property
    def last(self) -> Convolution | KernelSum:
        """The module that computes the output and holds the bias."""
        if self.order is Structure.DW_PW:
            return self.pointwise
        return self.sum if isinstance(self.sum, KernelSum) else self.depthwise

    @property
    def weight(self) -> Tensor:
        """The composed dense kernel, in the shape of the dense convolution's weight; see :class:`FactoredConv`.

        Raises:
            ConversionError: The layer has a batch norm and an activation between the two convolutions.
        """
        if self.norm_between:
            raise ConversionError(
                "this layer has a BatchNorm and a ReLU between its two convolutions, so it is not equivalent to a "
                "dense convolution and has no composed weight. Only layers without norm_between can be merged."
            )
        is_first = self.order is Structure.DW_PW
        points = swap_channels(self.pointwise.weight, self.groups) if is_first else self.pointwise.weight
        products = points.flatten(1).unsqueeze(2) * self.depthwise.weight.reshape(len(points), 1, -1)
        slices = products.new_zeros(len(self.kernels), *products.shape[1:]).index_add(0, self.channels, products)
        kernel = slices.reshape(*slices.shape[:2], *self.kernel_size)
        # The first dimension of a transposed convolution's weight is the input channel, of any other's the output.
        kernel = kernel if is_first == self.transposed else swap_channels(kernel, self.groups)
        return kernel.contiguous().as_subclass(ComposedKernel)

    @torch.no_grad()
    def scale_outputs(self, factors: Tensor) -> None:
        """Multiply the composed kernel by a factor for each output channel; see :class:`FactoredConv`.

        Of ``pw_dw`` the depthwise kernels are scaled, whose outputs are summed.
        """
        if self.order is Structure.DW_PW:
            super().scale_outputs(factors)
        else:
            scale_rows(self.depthwise.weight, factors.to(self.channels.device)[self.channels])

    @torch.no_grad()
    def set_factors(self, depthwise: Tensor, pointwise: Tensor) -> None:
        """Copy both factors into the layer, in the storage order of its form.

        Args:
            depthwise: ``(kernels, 1, *kernel_size)``, in the order of ``kernel_channels``.
            pointwise: ``(out_channels, kernels / groups, 1, ...)``, or ``(kernels, in_channels / groups, 1, ...)``
                with ``pw_dw``, in the same order.
        """
        self.depthwise.weight.copy_(depthwise[self._storage])
        self.pointwise.weight.copy_(self._reorder(pointwise, self._storage))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return both factors as :meth:`set_factors` takes them."""
        places = sorted(range(len(self._storage)), key=self._storage.__getitem__)
        depthwise, pointwise = self.depthwise.weight.detach(), self.pointwise.weight.detach()
        return depthwise[places], self._reorder(pointwise, places)

    def _reorder(self, pointwise: Tensor, places: Sequence[int]) -> Tensor:
        if self.order is Structure.PW_DW:
            return pointwise[places]
        return swap_channels(swap_channels(pointwise, self.groups)[places], self.groups)

    @classmethod
    def like(
        cls,
        dense: Convolution | DepthwiseSeparableConv,
        kernels: Sequence[int],
        order: Structure,
        form: Form | None = None,
        *,
        norm_between: bool = False,
    ) -> Self:
        """Build a layer with the geometry, device, dtype and mode of a convolution, and random weights."""
        layer = cls(
            **geometry_of(dense),
            kernels=kernels,
            order=order,
            form=form,
            norm_between=norm_between,
            bias=dense.bias is not None,
            **factory_kwargs(dense),
        )
        return layer.train(dense.training)

    def extra_repr(self) -> str:
        """Return the description that ``print(model)`` shows."""
        form = f", form={self.form}" if self.form is not None else ""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"order={self.order}, kernels={len(self.channels)}{form}"
        )


def _read_order(order: Structure | str) -> Structure:
    known = (Structure.DW_PW, Structure.PW_DW)
    if order not in known:
        raise ValueError(f"order: expected {' or '.join(known)}, found {str(order)!r}")
    return Structure(order)
