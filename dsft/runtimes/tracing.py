"""Trace a network to a graph of torch's operators with a dynamic batch size."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from dsft.errors import ExportError
from dsft.runtimes.batchnorm_folding import fold_norms

BATCH = "batch"
"""Name of the dynamic dimension."""


def trace(module: nn.Module, images: Tensor) -> ExportedProgram:
    """Trace a module with ``torch.export`` for batches of any size.

    Args:
        module: In evaluation mode, on the device of ``images``.
        images: At least two: torch specializes a size of one as a constant.

    Raises:
        ExportError: The forward pass cannot be traced, or depends on the batch size.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # They are about the network's own code, which its user cannot change.
            warnings.simplefilter("ignore")
            return torch.export.export(module, (images,), dynamic_shapes=({0: Dim(BATCH, min=1)},))
    except Exception as error:  # torch's errors have many classes, and the network's code may raise any
        raise ExportError(
            f"the network cannot be traced for batches of any size ({_first_line(error)}). Export its weights with "
            "--to safetensors, or change the part of its forward pass that depends on values or on the batch size."
        ) from error


def trace_folded(module: nn.Module, images: Tensor) -> tuple[ExportedProgram, int]:
    """Trace a module and fold its batch norms into the convolutions before them.

    Args:
        module: In evaluation mode, on the device of ``images``.
        images: One or more ``(batch, channels, height, width)``.

    Returns:
        The program, and the number of batch norms that were folded.

    Raises:
        ExportError: See :func:`trace`.
    """
    example = torch.cat([images, images])[:2]
    graph = graph_of(trace(module, example))
    folded = fold_norms(graph)
    return trace(graph, example), folded


def graph_of(program: ExportedProgram) -> GraphModule:
    """Return the graph of a program with its weights, to be modified and traced again."""
    return program.module(check_guards=False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
