"""A depthwise-separable 2d convolution with a free number of depthwise kernels per input channel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

COMPOSED_WEIGHT = (
    "the weight of a depthwise-separable layer is composed of depthwise.weight and pointwise.weight: it "
    "cannot be assigned or changed in place. Change those two, or set the dense weight before the conversion."
)


class ComposedKernel(Tensor):
    """A kernel computed from two factors: readable and differentiable, but closed to in-place changes."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Refuse what writes into the kernel, and guard its views alike; anything else is a plain tensor.

        Raises:
            RuntimeError: The function changes the kernel in place.
        """
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        target = args[0] if args else kwargs.get("tensor")
        if isinstance(kwargs.get("out"), cls) or (_WRITES.fullmatch(name) and isinstance(target, cls)):
            # Not a TypeError: torch's operators take one for "try the other operand".
            raise RuntimeError(COMPOSED_WEIGHT)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        return result.as_subclass(cls) if isinstance(result, Tensor) and _is_view(result, target) else result


# Tensor methods that end in one underscore, augmented assignments, and setters of items and attributes.
_WRITES = re.compile(r".*[^_]_|__i(?!nvert__|ndex__|nt__)\w+__|__set(item)?__")


def _is_view(result: Tensor, target: object) -> bool:
    return isinstance(target, Tensor) and result.untyped_storage().data_ptr() == target.untyped_storage().data_ptr()


class DepthwiseSeparableConv2d(nn.Module):
    r"""A depthwise convolution followed by a pointwise one, in place of a dense ``nn.Conv2d``.

    Input channel :math:`c` is filtered by ``kernels[c]`` depthwise kernels :math:`d_{c,r}`; the pointwise
    convolution sums their outputs with weights :math:`p_{c,r}`. That equals a dense convolution with kernel
    :math:`W_{m,c} = \sum_r p_{m,c,r} d_{c,r}` (Guo et al. 2018, "Network Decoupling", eq. 4; with unequal
    numbers of kernels Dbouk & Shanbhag 2021, "Generalized Depthwise-Separable Convolutions", eq. 2).

    Attributes that other code reads from an ``nn.Conv2d`` exist and mean the same. It is deliberately no
    subclass of it, since tools that fuse or count convolutions would take it for a dense one.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the depthwise kernels.
        kernels: Depthwise kernels of each input channel, one number a channel; 0 drops the channel. Their
            total is the same in each group.
        stride: Stride of the depthwise convolution.
        padding: Padding of the depthwise convolution, as ``nn.Conv2d`` takes it.
        dilation: Dilation of the depthwise convolution.
        groups: Blocks of input channels that are connected to blocks of output channels.
        bias: Whether the pointwise convolution adds a bias.
        padding_mode: How the depthwise convolution pads, as ``nn.Conv2d`` takes it.
        device: Where the parameters are.
        dtype: Number format of the parameters.

    Raises:
        ValueError: ``kernels`` has not one number for each channel, or unequal totals in the groups.
    """

    channels: Tensor
    """The input channel that each depthwise kernel reads, ``(kernels,)``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        kernels: Sequence[int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: str | tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels = kernel_channels(kernels, in_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.padding, self.padding_mode = padding, padding_mode
        self.kernels = tuple(kernels)
        total = len(channels)
        self.depthwise = nn.Conv2d(
            total,
            total,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=total,
            bias=False,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        self.pointwise = nn.Conv2d(total, out_channels, 1, groups=groups, bias=bias, device=device, dtype=dtype)
        # Follows from `kernels`, so it moves with the module and stays out of the state dict.
        self.register_buffer("channels", torch.tensor(channels, device=device), persistent=False)
        self._repeats = _whole_repeats(channels, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve ``(batch, in_channels, height, width)`` or an unbatched ``(in_channels, ...)``."""
        output: Tensor = self.pointwise(self.depthwise(self._spread(images)))
        return output

    def _spread(self, images: Tensor) -> Tensor:
        """Repeat each input channel once for every depthwise kernel that reads it."""
        if self._repeats == 1:
            return images
        if self._repeats > 1:
            # Concatenation copies whole blocks, where a gather in channels_last copies single numbers.
            return torch.cat([images] * self._repeats, dim=-3)
        return images.index_select(images.dim() - 3, self.channels)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the output, ``(out_channels,)``, or None."""
        return self.pointwise.bias

    @property
    def weight(self) -> Tensor:
        """The composed dense kernel, ``(out_channels, in_channels / groups, kh, kw)``.

        It is computed anew at each reading, and can be differentiated. Assigning it, or changing it in place,
        would change nothing of the layer and raises an error instead.
        """
        per_group, positions = self.in_channels // self.groups, self.depthwise.weight[0].numel()
        depthwise = self.depthwise.weight.reshape(self.groups, 1, -1, positions)
        pointwise = self.pointwise.weight.reshape(self.groups, self.out_channels // self.groups, -1, 1)
        products = pointwise * depthwise
        index = (self.channels % per_group).reshape(self.groups, 1, -1, 1).expand_as(products)
        composed = products.new_zeros(*products.shape[:2], per_group, positions).scatter_add(2, index, products)
        kernel = composed.reshape(self.out_channels, per_group, *self.kernel_size)
        return kernel.as_subclass(ComposedKernel)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            raise AttributeError(COMPOSED_WEIGHT)
        super().__setattr__(name, value)

    def merge(self) -> nn.Conv2d:
        """Return the dense ``nn.Conv2d`` of the same function, device, dtype and mode."""
        weight = self.weight.detach().as_subclass(Tensor)
        dense = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            bias=self.bias is not None,
            padding_mode=self.padding_mode,
            device=weight.device,
            dtype=weight.dtype,
        )
        with torch.no_grad():
            dense.weight.copy_(weight)
            if dense.bias is not None and self.bias is not None:
                dense.bias.copy_(self.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Describe the layer as ``print(model)`` shows it."""
        kernels = len(self.channels)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, kernels={kernels}"
        )


def kernel_channels(kernels: Sequence[int], in_channels: int, groups: int) -> list[int]:
    """Return the input channel that each depthwise kernel reads.

    Kernels are sorted by group, within it by rank (all first kernels, then all second ones), within that by
    channel, so that equal numbers of kernels make whole repeats of the input.

    Args:
        kernels: Depthwise kernels of each input channel.
        in_channels: Channels of the input.
        groups: Groups of the convolution.

    Raises:
        ValueError: ``kernels`` does not fit the channels or the groups.
    """
    if len(kernels) != in_channels or any(count < 0 for count in kernels):
        raise ValueError(
            f"kernels: one number of at least 0 is needed for each of {in_channels} input channels, "
            f"found {list(kernels)!r}"
        )
    width = in_channels // groups
    blocks = [range(start, start + width) for start in range(0, in_channels, width)]
    totals = {sum(kernels[channel] for channel in block) for block in blocks}
    if len(totals) != 1 or 0 in totals:
        raise ValueError(f"kernels: each group needs the same total, at least 1, found totals {sorted(totals)}")
    return [
        channel
        for block in blocks
        for rank in range(max(kernels[channel] for channel in block))
        for channel in block
        if kernels[channel] > rank
    ]


def _whole_repeats(channels: Sequence[int], in_channels: int) -> int:
    """Return how many whole copies of the input the channels are, or 0 where they are not."""
    repeats, rest = divmod(len(channels), in_channels)
    is_whole = rest == 0 and list(channels) == list(range(in_channels)) * repeats
    return repeats if is_whole else 0
