"""What must be taken off a network, or done with it, before its convolutions can be swapped."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from dsft.compat.torch_compile import is_compiled, is_compiled_in_place, without_compilation
from dsft.compat.torch_modules import is_sharded
from dsft.errors import ConversionError


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, or itself.

    Names in a plan are relative to it. A converted network is compiled or distributed anew, since each of these
    holds on to the modules and parameters that it found.

    Raises:
        ConversionError: It is no network.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(f"model: a torch.nn.Module is needed, found {model!r}.")
    while True:
        if is_compiled(model):
            model = without_compilation(model)
        elif isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        else:
            return model


def require_ready(model: nn.Module) -> None:
    """Check that a network can be run with hooks and that its weights exist.

    Raises:
        ConversionError: It is scripted, exported, quantised, sharded, lazy, without data, or compiled in parts or in
            place.
    """
    for name, module in model.named_modules():
        # An exported one is a graph of torch.fx without the methods that switch a module's mode.
        if isinstance(module, torch.jit.ScriptModule) or "eval" in vars(module):
            raise ConversionError(
                f"module {name!r}: is a {type(module).__name__}, whose forward pass is fixed. Convert the network "
                f"first, then trace or export what comes out."
            )
        if ".quantized." in type(module).__module__:
            raise ConversionError(
                f"module {name!r}: is a quantised {type(module).__name__}, whose weights are rounded. Convert the "
                f"network first, then quantise what comes out."
            )
        if is_compiled(module) or is_compiled_in_place(module):
            raise ConversionError(
                f"module {name!r}: is compiled, so that what it runs cannot be seen. Convert the network first, then "
                f"compile what comes out."
            )
        if is_sharded(module):
            raise ConversionError(
                f"module {name!r}: its weights are sharded over processes. Convert the whole network first, then shard "
                f"what comes out."
            )
        _require_weights(name, module)


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of a network, also of one with tensors computed from its parameters.

    The older ``weight_norm`` and ``spectral_norm`` leave such tensors in plain attributes, and torch refuses to copy
    what has a gradient's history; the next forward pass computes them anew.
    """
    values = [value for module in model.modules() for value in vars(module).values()]
    computed = [value for value in values if isinstance(value, Tensor) and value.grad_fn is not None]
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})


def _require_weights(name: str, module: nn.Module) -> None:
    for key, parameter in module.named_parameters(recurse=False):
        if isinstance(parameter, UninitializedParameter):
            raise ConversionError(
                f"module {name!r}: {key} has no shape yet, since {type(module).__name__} takes it from its first "
                f"input. Run the network once, load its weights, and convert it then."
            )
        if parameter.is_inference():
            raise ConversionError(
                f"module {name!r}: {key} was made in inference mode, so that it can be neither trained nor frozen. "
                f"Build the network outside of torch.inference_mode()."
            )
        if parameter.is_meta:
            raise ConversionError(
                f"module {name!r}: {key} is on the meta device and has no values. Load the weights before converting."
            )
