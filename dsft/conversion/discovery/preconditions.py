"""Preconditions for converting a network: no wrappers, and weights that exist."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from dsft.compat.torch_compile import is_compiled, is_compiled_in_place, without_compilation
from dsft.compat.torch_modules import is_sharded
from dsft.errors import ConversionError, type_of
from dsft.separable import FactoredConv


def unwrap_network(model: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, or itself.

    Names in a plan are relative to it. A converted network must be compiled or distributed again, since each wrapper
    keeps the modules and parameters that it was created with.

    Raises:
        ConversionError: ``model`` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(f"model: a torch.nn.Module is needed, found {type_of(model)}.")
    while True:
        if is_compiled(model):
            model = without_compilation(model)
        elif isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        else:
            return model


def check_preconditions(model: nn.Module) -> None:
    """Check that a network can be run with hooks and that its weights exist.

    Raises:
        ConversionError: It is scripted, exported, quantized, sharded, lazy, on the meta device, or compiled in parts or
            in place.
    """
    for name, module in model.named_modules():
        # An exported network is a torch.fx graph that raises in eval().
        if isinstance(module, torch.jit.ScriptModule) or "eval" in vars(module):
            raise ConversionError(
                f"module {name!r}: is a {type(module).__name__}, whose forward pass is fixed. Convert the network "
                f"first, then trace or export the converted one."
            )
        if ".quantized." in type(module).__module__:
            raise ConversionError(
                f"module {name!r}: is a quantized {type(module).__name__}, whose weights are rounded. Convert the "
                f"network first, then quantize the converted one."
            )
        if is_compiled(module) or is_compiled_in_place(module):
            raise ConversionError(
                f"module {name!r}: is compiled, so its operations cannot be traced. Convert the network first, then "
                f"compile the converted one."
            )
        if is_sharded(module):
            raise ConversionError(
                f"module {name!r}: its weights are sharded over processes. Convert the whole network first, then shard "
                f"the converted one."
            )
        _require_weights(name, module)


def require_unconverted(model: nn.Module) -> None:
    """Check that no layer of a network is converted.

    Raises:
        ConversionError: One is; the plan of a further conversion would not describe it.
    """
    converted = [name for name, module in model.named_modules() if isinstance(module, FactoredConv)]
    if converted:
        raise ConversionError(
            f"model: {len(converted)} of its layers are converted already, such as {converted[0]!r}. Convert the "
            "network that it was made from."
        )


def copy_network(model: nn.Module) -> nn.Module:
    """Return a deep copy of a network, even if it has tensors that are computed from its parameters.

    The older ``weight_norm`` and ``spectral_norm`` store such tensors in plain attributes, and torch cannot copy
    tensors with a gradient history. They are detached; the next forward pass computes them again.
    """
    values = [value for module in model.modules() for value in vars(module).values()]
    computed = [value for value in values if isinstance(value, Tensor) and value.grad_fn is not None]
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})


def _require_weights(name: str, module: nn.Module) -> None:
    for key, parameter in module.named_parameters(recurse=False):
        if isinstance(parameter, UninitializedParameter):
            raise ConversionError(
                f"module {name!r}: {key} has no shape yet, since {type(module).__name__} takes it from its first "
                f"input. Run the network once, load its weights, then convert it."
            )
        if parameter.is_inference():
            raise ConversionError(
                f"module {name!r}: {key} was created in inference mode, so it can be neither trained nor frozen. "
                f"Build the network outside of torch.inference_mode()."
            )
        if parameter.is_meta:
            raise ConversionError(
                f"module {name!r}: {key} is on the meta device and has no values. Load the weights before converting."
            )
