"""The classes of convolutions that can be converted, and the dense kernel that each of them computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame  # type: ignore[attr-defined] # no __all__
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.overrides import TorchFunctionMode

from dsft.compat.torch_convolution import Convolution, computes_alike
from dsft.errors import ConversionError
from dsft.measure import run_example
from dsft.separable import (
    LOW_RANK_CLASSES,
    PW_DW_PW_CLASSES,
    SEPARABLE_CLASSES,
    DepthwiseSeparableConv,
    LowRankConv,
    PointwiseDepthwisePointwiseConv,
    swap_channels,
)
from dsft.separable.same_padding import (
    DepthwiseSeparableConv2dSame,
    PointwiseDepthwisePointwiseConv2dSame,
    SameConv2d,
)

STANDARDIZED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)
"""Convolutions that standardize their weight in each forward pass. A converted one starts from the standardized weight,
and training no longer standardizes it."""

KNOWN_PARAMETERS = frozenset(
    {"weight", "bias", "gain", "weight_g", "weight_v"}
    | {f"parametrizations.weight.original{number}" for number in range(2)}
)
"""Parameters of plain, standardized and weight-normalized convolutions."""

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d)
ALWAYS_SAME = (Conv2dSame, SameConv2d)
PLAIN: tuple[type[Convolution], ...] = tuple(SEPARABLE_CLASSES)
KINDS: tuple[type[Convolution], ...] = (*PLAIN, *ALWAYS_SAME, *STANDARDIZED)


def kind_of(module: nn.Module) -> type[Convolution] | None:
    """Return the known class whose forward pass a module inherits unchanged, or None.

    A user's subclass counts as its base class as long as it does not change the forward pass.
    """
    plain = next((each for each in PLAIN if isinstance(module, each)), None)
    if plain is None or isinstance(module, LazyModuleMixin) or "forward" in vars(module):
        return None
    own = type(module)
    if own.__call__ is not nn.Module.__call__ or not computes_alike(own, plain):
        return None
    definer = next(base for base in own.__mro__ if "forward" in vars(base))
    return next((kind for kind in KINDS if kind is definer), None)


def find_convolution(model: nn.Module, name: str) -> Convolution:
    """Return the convolution of a network with a name.

    Raises:
        ConversionError: There is no convolution of a known class under this name.
    """
    module = find_submodule(model, name)
    if not isinstance(module, Convolution) or kind_of(module) is None:
        found = "nothing" if module is None else type(module).__name__
        raise ConversionError(
            f"layer {name!r}: the plan needs a convolution there, found {found}. The plan was made for another network."
        )
    return module


def find_submodule(model: nn.Module, name: str) -> nn.Module | None:
    """Return the submodule with a name, or None."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def has_more(module: nn.Module) -> bool:
    """Whether a convolution has parameters, buffers or submodules that its own forward pass does not use."""
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return not names <= KNOWN_PARAMETERS or any(name != "parametrizations" for name, _ in module.named_children())


def is_same_padded(module: nn.Module) -> bool:
    """Whether a convolution of a known class pads as TensorFlow does, depending on the size of each image."""
    kind = kind_of(module)
    # timm's standardized convolutions have an attribute that is False where a fixed padding is equivalent.
    return kind in ALWAYS_SAME or (kind in (StdConv2dSame, ScaledStdConv2dSame) and bool(vars(module)["same_pad"]))


def separable_class_of(module: Convolution) -> type[DepthwiseSeparableConv]:
    """Return the depthwise-separable layer that can replace a convolution of a known class."""
    if is_same_padded(module):
        return DepthwiseSeparableConv2dSame
    return next(layer for plain, layer in SEPARABLE_CLASSES.items() if isinstance(module, plain))


def pw_dw_pw_class_of(module: Convolution) -> type[PointwiseDepthwisePointwiseConv]:
    """Return the pointwise-depthwise-pointwise layer that can replace a convolution of a known class."""
    if is_same_padded(module):
        return PointwiseDepthwisePointwiseConv2dSame
    return next(layer for plain, layer in PW_DW_PW_CLASSES.items() if isinstance(module, plain))


def low_rank_class_of(module: Convolution) -> type[LowRankConv]:
    """Return the low-rank layer that can replace a 1x1 convolution of a known class.

    The padding of TensorFlow adds nothing to a 1x1 kernel.
    """
    return next(layer for plain, layer in LOW_RANK_CLASSES.items() if isinstance(module, plain))


def effective_weight(module: Convolution) -> Tensor:
    """Return the dense kernel that a convolution of a known class computes with in evaluation mode."""
    if kind_of(module) not in STANDARDIZED and any(
        name == "weight" for name, _ in module.named_parameters(recurse=False)
    ):
        return module.weight
    with _KernelsUsed() as used:
        # The extent of the kernel, and more than its padding, which may reflect the input.
        sizes = [2 * size * step for size, step in zip(module.kernel_size, module.dilation, strict=True)]
        if not isinstance(module.padding, str):
            sizes = [max(size, padding + 1) for size, padding in zip(sizes, module.padding, strict=True)]
        example = next(module.parameters()).new_zeros(1, module.in_channels, *sizes)
        run_example(module, example)
    kernel: Tensor
    (kernel,) = used.kernels
    return kernel


def dense_kernel(module: Convolution) -> Tensor:
    """Return that kernel as ``(out_channels, in_channels / groups, *kernel_size)``, transposed or not."""
    weight = effective_weight(module)
    return swap_channels(weight, module.groups) if module.transposed else weight


def is_trained(module: nn.Module) -> bool:
    """Whether the parameters of the kernel require a gradient."""
    return any(value.requires_grad for name, value in module.named_parameters() if name != "bias")


class _KernelsUsed(TorchFunctionMode):
    """Records the kernels that convolution functions are called with."""

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
