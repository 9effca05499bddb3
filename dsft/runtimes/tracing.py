"""Trace a network to a graph of torch's operators with a dynamic batch size."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from dsft.errors import ExportError
from dsft.runtimes.batchnorm_folding import fold_norms

BATCH = "batch"
"""Name of the dynamic dimension."""


def trace(module: nn.Module, images: Tensor, *, any_size: bool = False) -> ExportedProgram:
    """Trace a module with ``torch.export`` for batches of any size.

    Args:
        module: In evaluation mode, on the device of ``images``.
        images: At least two: torch specializes a size of one as a constant.
        any_size: Trace for images of any height and width too, as far as the network takes them.

    Raises:
        ExportError: The forward pass cannot be traced, or depends on the batch size.
    """
    sizes = {2: Dim.AUTO, 3: Dim.AUTO} if any_size else {}
    try:
        return _export(module, (images,), dynamic_shapes=({0: Dim(BATCH, min=1), **sizes},))
    except Exception as error:  # torch's errors have many classes, and the network's code may raise any
        raise ExportError(
            f"the network cannot be traced for batches of any size ({_first_line(error)}). Export its weights with "
            "--to safetensors, or change the part of its forward pass that depends on values or on the batch size."
        ) from error


def trace_example(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> ExportedProgram:
    """Trace a module with ``torch.export`` for the shapes of an example.

    Args:
        module: In evaluation mode.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        ExportError: The forward pass cannot be traced.
    """
    try:
        return _export(module, args, kwargs)
    except Exception as error:  # see trace
        raise ExportError(f"the network cannot be traced ({_first_line(error)}).") from error


def trace_folded(
    module: nn.Module, images: Tensor, *, dynamic_batch: bool = True, any_size: bool = False
) -> tuple[ExportedProgram, int]:
    """Trace a module and fold its batch norms into the convolutions before them.

    Args:
        module: In evaluation mode, on the device of ``images``.
        images: One or more ``(batch, channels, height, width)``.
        dynamic_batch: Trace for batches of any size, else for the shape of ``images``.
        any_size: See :func:`trace`; only with ``dynamic_batch``.

    Returns:
        The program, and the number of batch norms that were folded.

    Raises:
        ExportError: See :func:`trace`.
    """
    example = torch.cat([images, images])[:2]

    def traced(part: nn.Module) -> ExportedProgram:
        return trace(part, example, any_size=any_size) if dynamic_batch else trace_example(part, (images,))

    graph = graph_of(traced(module))
    folded = fold_norms(graph)
    return traced(graph), folded


def input_shape(program: ExportedProgram) -> tuple[int, ...]:
    """Return the shape of the images that a program takes, with 0 for sizes that may vary."""
    (name,) = program.graph_signature.user_inputs
    shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == name)
    return tuple(size if isinstance(size, int) else 0 for size in shape)


def graph_of(program: ExportedProgram) -> GraphModule:
    """Return the graph of a program with its weights, to be modified and traced again."""
    return program.module(check_guards=False)


def _export(*args: Any, **options: Any) -> ExportedProgram:
    with torch.no_grad(), warnings.catch_warnings():
        # They are about the network's own code, which its user cannot change.
        warnings.simplefilter("ignore")
        return torch.export.export(*args, **options)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
