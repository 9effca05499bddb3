"""Which dense convolution a module stands for, whatever its class: the kinds that can be converted right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame  # type: ignore[attr-defined] # no __all__
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.overrides import TorchFunctionMode

from dsft.compat.torch_convolution import Convolution, computes_alike
from dsft.measure import run_example
from dsft.separable import LOW_RANK_CLASSES, SEPARABLE_CLASSES, DepthwiseSeparableConv, LowRankConv, swap_channels
from dsft.separable.same_padding import DepthwiseSeparableConv2dSame, SameConv2d

STANDARDISED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)
"""Convolutions whose weight is standardised in each pass. A converted one starts from the standardised weight, and
training no longer standardises it."""

KNOWN_PARAMETERS = frozenset(
    {"weight", "bias", "gain", "weight_g", "weight_v"}
    | {f"parametrizations.weight.original{number}" for number in range(2)}
)
"""Those of convolutions of a known kind, of standardised and of weight-normalised ones."""

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d)
ALWAYS_SAME = (Conv2dSame, SameConv2d)
PLAIN: tuple[type[Convolution], ...] = tuple(SEPARABLE_CLASSES)
KINDS: tuple[type[Convolution], ...] = (*PLAIN, *ALWAYS_SAME, *STANDARDISED)


def kind_of(module: nn.Module) -> type[Convolution] | None:
    """Return the known class whose computation a module inherits unchanged, or None.

    A class of the user's own counts as the one that it derives from as long as it changes nothing of the pass.
    """
    plain = next((each for each in PLAIN if isinstance(module, each)), None)
    if plain is None or isinstance(module, LazyModuleMixin) or "forward" in vars(module):
        return None
    own = type(module)
    if own.__call__ is not nn.Module.__call__ or not computes_alike(own, plain):
        return None
    definer = next(base for base in own.__mro__ if "forward" in vars(base))
    return next((kind for kind in KINDS if kind is definer), None)


def has_more(module: nn.Module) -> bool:
    """Whether a convolution holds parameters, buffers or modules that its pass does not use and something else may."""
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return not names <= KNOWN_PARAMETERS or any(name != "parametrizations" for name, _ in module.named_children())


def is_same_padded(module: nn.Module) -> bool:
    """Whether a convolution of a known kind pads as TensorFlow does, by the size of each image."""
    kind = kind_of(module)
    # timm's standardised ones say by an attribute whether a fixed padding is the same for their geometry.
    return kind in ALWAYS_SAME or (kind in (StdConv2dSame, ScaledStdConv2dSame) and bool(vars(module)["same_pad"]))


def separable_class_of(module: Convolution) -> type[DepthwiseSeparableConv]:
    """Return the layer that can stand for a convolution of a known kind."""
    if is_same_padded(module):
        return DepthwiseSeparableConv2dSame
    return next(layer for plain, layer in SEPARABLE_CLASSES.items() if isinstance(module, plain))


def low_rank_class_of(module: Convolution) -> type[LowRankConv]:
    """Return the low-rank layer that can stand for a convolution of one position, of a known kind.

    One position is padded alike by every rule: TensorFlow's adds nothing.
    """
    return next(layer for plain, layer in LOW_RANK_CLASSES.items() if isinstance(module, plain))


def effective_weight(module: Convolution) -> Tensor:
    """Return the dense kernel that a convolution of a known kind convolves with in evaluation mode."""
    if kind_of(module) not in STANDARDISED and any(
        name == "weight" for name, _ in module.named_parameters(recurse=False)
    ):
        return module.weight
    with _KernelsUsed() as used:
        sizes = [(size - 1) * step + 1 for size, step in zip(module.kernel_size, module.dilation, strict=True)]
        example = next(module.parameters()).new_zeros(1, module.in_channels, *sizes)
        run_example(module, example)
    kernel: Tensor
    (kernel,) = used.kernels
    return kernel


def dense_kernel(module: Convolution) -> Tensor:
    """Return the same kernel as ``(out_channels, in_channels / groups, *kernel_size)``, transposed or not."""
    weight = effective_weight(module)
    return swap_channels(weight, module.groups) if module.transposed else weight


def is_trained(module: nn.Module) -> bool:
    """Whether what the kernel is computed from requires a gradient."""
    return any(value.requires_grad for name, value in module.named_parameters() if name != "bias")


class _KernelsUsed(TorchFunctionMode):
    """Records the kernels that convolutions are called with."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in CONVOLUTIONS:
            self.kernels.append(args[1])
        return func(*args, **(kwargs or {}))
