"""The base class of all layers that replace a dense convolution by several smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.separable.composed import COMPOSED_WEIGHT
from dsft.separable.kernel_order import swap_channels
from dsft.separable.rescaling import channel_factors

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class FactoredConv(nn.Module):
    """Several convolutions that replace a dense one; the base class of the layers.

    The attributes that other code reads from torch's convolutions exist and mean the same. It is deliberately not a
    subclass of them, since tools that count or replace convolutions would treat it as one. Functions that fuse a batch
    norm into a convolution work: see ``weight``.

    A derived class sets the class attributes, and defines ``last``, ``weight``, ``set_factors`` and ``forward``.

    Attributes:
        kernels: Kernels of each channel, or of each group, as plans state them.
        dimensions: Number of spatial dimensions.
        dense_class: The convolution that a layer replaces, and is merged into.
        transposed: Whether that is a transposed convolution.
    """

    kernels: tuple[int, ...]
    dimensions: ClassVar[int]
    dense_class: ClassVar[type[Any]]
    transposed: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        *,
        stride: int | tuple[int, ...],
        padding: str | int | tuple[int, ...],
        output_padding: int | tuple[int, ...],
        dilation: int | tuple[int, ...],
        groups: int,
        padding_mode: PaddingMode,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = self._sizes("kernel_size", kernel_size), self._sizes("stride", stride)
        self.dilation = self._sizes("dilation", dilation)
        self.output_padding = self._sizes("output_padding", output_padding)
        self.padding = padding if isinstance(padding, str) else self._sizes("padding", padding)
        self.padding_mode = padding_mode

    def _sizes(self, name: str, size: int | tuple[int, ...]) -> tuple[int, ...]:
        sizes = (size,) * self.dimensions if isinstance(size, int) else tuple(size)
        if len(sizes) != self.dimensions:
            raise ValueError(f"{name}: expected one number, or {self.dimensions}, found {sizes!r}")
        return sizes

    @property
    def structure(self) -> Structure:
        """The structure that replaces the dense convolution."""
        raise NotImplementedError

    @property
    def last(self) -> nn.Module:
        """The module that computes the output and holds the bias."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """The composed dense kernel, in the shape of the dense convolution's weight.

        It is computed at each access, and can be differentiated. What is assigned must be this kernel times one factor
        for each output channel, as fusers of batch norms compute it; :meth:`scale_outputs` then applies the factors.
        Assigning any other kernel, or changing it in place, is an error.

        Raises:
            ConversionError: The layer is not equivalent to a dense convolution.
        """
        raise NotImplementedError

    def set_factors(self, *factors: Any, **named: Any) -> None:
        """Copy the factors, as tensors in the order in which they are applied, into the layer."""
        raise NotImplementedError

    def reset_indices(self) -> None:
        """Compute the buffers anew that are not in the state dict, in place.

        A layer that was built on the meta device has arbitrary values in them after :meth:`torch.nn.Module.to_empty`.
        """

    @property
    def bias(self) -> Tensor | None:
        """The bias of the output, ``(out_channels,)``, or None."""
        last: Any = self.last
        bias: Tensor | None = last.bias
        return bias

    def __setattr__(self, name: str, value: Any) -> None:
        # torch's modules register an assigned parameter without regard to a property of its name.
        if name == "weight":
            self._rescale_to(value)
        elif name == "bias":
            self._set_bias(value)
        else:
            super().__setattr__(name, value)

    def _rescale_to(self, weight: Any) -> None:
        if not isinstance(weight, Tensor):
            raise AttributeError(COMPOSED_WEIGHT)
        kernels = (self.weight.detach(), weight.detach())
        if self.transposed and weight.shape == kernels[0].shape:
            kernels = (swap_channels(kernels[0], self.groups), swap_channels(kernels[1], self.groups))
        factors = channel_factors(*kernels)
        if factors is None:
            raise AttributeError(COMPOSED_WEIGHT)
        self.scale_outputs(factors)

    def _set_bias(self, bias: Tensor | None) -> None:
        if bias is not None and tuple(bias.shape) != (self.out_channels,):
            raise AttributeError(f"bias: expected the shape ({self.out_channels},), found {tuple(bias.shape)}.")
        last: Any = self.last
        last.bias = bias

    @torch.no_grad()
    def scale_outputs(self, factors: Tensor) -> None:
        """Multiply the composed kernel by a factor for each output channel, in place; the bias is not changed.

        The last convolution is scaled, which is the pointwise one except in the order ``pw_dw``.

        Args:
            factors: ``(out_channels,)``.
        """
        last: Any = self.last
        scale_rows(last.weight, factors)

    def merge(self) -> nn.Module:
        """Return the equivalent dense convolution, with the same device, dtype and mode.

        Raises:
            ConversionError: The layer is not equivalent to a dense convolution.
        """
        weight = self.weight.detach().as_subclass(Tensor)
        dense: Convolution = self.dense_class(
            **geometry_of(self), bias=self.bias is not None, device=weight.device, dtype=weight.dtype
        )
        with torch.no_grad():
            dense.weight.copy_(weight)
            if dense.bias is not None and self.bias is not None:
                dense.bias.copy_(self.bias)
        return dense.train(self.training)


class EqualGroupsConv(FactoredConv):
    """A layer with equal numbers of kernels in all groups; the base class of those.

    The constructor of a derived class takes the arguments of torch's convolution by name, and ``kernels``.
    """

    form: ClassVar[None] = None
    """No channel is repeated, so there is no form."""

    def _read_kernels(self, kernels: int | Sequence[int]) -> tuple[int, ...]:
        """Return the kernels of each group.

        Raises:
            ValueError: The numbers differ or are below 1, or there is not one for each group.
        """
        each = (kernels,) * self.groups if isinstance(kernels, int) else tuple(kernels)
        if len(each) != self.groups or len(set(each)) != 1 or each[0] < 1:
            raise ValueError(
                f"kernels: expected one number, at least 1, for all of {self.groups} groups, found {list(each)!r}"
            )
        return each

    @classmethod
    def like(cls, dense: Convolution | FactoredConv, kernels: Sequence[int]) -> Self:
        """Build a layer with the geometry, device, dtype and mode of a convolution, and random weights."""
        build: Callable[..., Self] = cls
        layer = build(**geometry_of(dense), kernels=kernels, bias=dense.bias is not None, **factory_kwargs(dense))
        return layer.train(dense.training)


class TransposedArguments(FactoredConv):
    """Takes positional arguments in the order of ``nn.ConvTranspose2d``, which is not that of ``nn.Conv2d``.

    It stands before another base class, to which it passes them by name.
    """

    dimensions = 2
    dense_class = nn.ConvTranspose2d
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        named: dict[str, Any] = {
            "stride": stride,
            "padding": padding,
            "output_padding": output_padding,
            "groups": groups,
            "bias": bias,
            "dilation": dilation,
            "padding_mode": padding_mode,
            "device": device,
            "dtype": dtype,
        }
        super().__init__(in_channels, out_channels, kernel_size, **named, **options)


def geometry_of(conv: Convolution | FactoredConv) -> dict[str, Any]:
    """Return the constructor arguments that a dense convolution and the layers that replace it have in common."""
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    names += ["output_padding"] if conv.transposed else []
    return {name: getattr(conv, name) for name in names}


def scale_rows(weight: Tensor, factors: Tensor) -> None:
    """Multiply each row of a weight by its factor in place, computed in the precision of the factors."""
    weight.copy_(weight * factors.to(weight.device).reshape(-1, *(1,) * (weight.dim() - 1)))


def factory_kwargs(conv: nn.Module) -> dict[str, Any]:
    """Return the device and the dtype of a convolution's parameters, as constructor arguments."""
    parameter = next(conv.parameters())
    return {"device": parameter.device, "dtype": parameter.dtype}
