"""A network as a graph of torch's operators, the batch left open."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from dsft.errors import ExportError

BATCH = "batch"
"""Name of the size that is left open."""


def trace(module: nn.Module, images: Tensor) -> ExportedProgram:
    """Record what a module does with a batch of any size.

    Args:
        module: In evaluation mode, on the device of ``images``.
        images: At least two: torch takes a size of one for a constant.

    Raises:
        ExportError: The module does something with the images that no graph can say, or needs the batch to be of one
            size.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # What it warns of is the network's own code, which its user cannot change.
            warnings.simplefilter("ignore")
            return torch.export.export(module, (images,), dynamic_shapes=({0: Dim(BATCH, min=1)},))
    except Exception as error:  # its own errors have many classes, and the network's code raises what it likes
        raise ExportError(
            f"the network cannot be recorded as a graph for batches of any size ({_first_line(error)}). Export its "
            "weights with --to safetensors, or change the part of its forward pass that depends on values or on the "
            "size of the batch."
        ) from error


def graph_of(program: ExportedProgram) -> GraphModule:
    """Return a program's graph with its weights, to be changed and traced again."""
    return program.module(check_guards=False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
