"""INT8 for ExecuTorch: the network's graph is quantized by torchao for XNNPACK, and then lowered."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from dsft.errors import ExportError, ModelError
from dsft.runtimes.executorch_runtime import lower_programs
from dsft.runtimes.packages import silenced
from dsft.runtimes.runtime import DropLimit
from dsft.runtimes.tracing import graph_of, trace_example

_LAYERS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "linear")
"""Operators with weights, as torch.export names them."""

_RANKING_IMAGES = 32
"""Calibration images on which the layers are ranked by what they lose, with one quantization for each layer."""

Network = Callable[[Tensor], Tensor]


def quantize_program(
    program: ExportedProgram,
    output: str,  # noqa: ARG001 (the signature of all quantizers; the format has no names)
    target: Path,
    images: Sequence[Tensor],
    limit: DropLimit | None,
) -> tuple[str, ...]:
    """Quantize a traced network and write it as a program; see :func:`dsft.runtimes.int8.quantize_file`.

    Weights are quantized per channel, activations per tensor. Operators that XNNPACK has no int8 kernel for run in
    float32.

    Args:
        program: The network, traced for one image.
        output: Not used.
        target: The new file.
        images: The calibration images, one by one.
        limit: How much of a score may be lost on them; None for any.

    Returns:
        The names of the layers with weights that remain in float32.

    Raises:
        ExportError: The network cannot be quantized or lowered.
    """
    with silenced():
        try:
            kept = [] if limit is None else _sensitive_layers(program, images, limit)
            quantized = trace_example(_quantize(program, images, kept), (images[0],))
        except (ExportError, ModelError):
            raise
        except Exception as error:  # its passes raise errors of every kind
            raise ExportError(f"torchao cannot quantize the network ({type(error).__name__}: {error}).") from error
    target.write_bytes(lower_programs({"forward": quantized}))
    names = {node.name: _module_name(node) for node in _layers(graph_of(program))}
    return tuple(names[each] for each in kept)


def _quantize(program: ExportedProgram, images: Sequence[Tensor], kept: Collection[str]) -> Any:
    """Return the graph with quantized operators, all but those of the layers that are kept, by the names of nodes."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(lambda node: node.name not in kept)
    prepared = prepare_pt2e(graph_of(program), quantizer)
    with torch.no_grad():
        for image in images:
            prepared(image)
    return convert_pt2e(prepared)


def _sensitive_layers(program: ExportedProgram, images: Sequence[Tensor], limit: DropLimit) -> list[str]:
    """Return the layers that must stay in float32, by the names of their nodes, first those that change the score most.

    They are ranked by the score of the network in which each alone stays.
    """

    def score(network: Network, used: Sequence[Tensor]) -> float:
        with torch.no_grad():
            return limit.score(torch.cat([network(image) for image in used]), range(len(used)))

    def loss(kept: Collection[str]) -> float:
        return in_float - score(_quantize(program, images, kept), images)

    in_float = score(graph_of(program), images)
    if loss([]) <= limit.largest:
        return []
    few = images[:_RANKING_IMAGES]
    layers = [node.name for node in _layers(graph_of(program))]
    gains = {name: score(_quantize(program, few, [name]), few) for name in layers}
    ranked = sorted(layers, key=lambda name: -gains[name])
    return next((ranked[:count] for count in range(1, len(ranked)) if loss(ranked[:count]) <= limit.largest), ranked)


def _layers(graph: Any) -> list[Node]:
    return [
        node
        for node in graph.graph.nodes
        if node.op == "call_function" and str(node.target).split(".")[1:2] and str(node.target).split(".")[1] in _LAYERS
    ]


def _module_name(node: Node) -> str:
    """Return the name of the module that a node computes, which torch.export records, or else that of the node."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [re.sub(r"^L\['self'\]\.?", "", str(path)) for path, _ in stack.values()]
    return next((path for path in reversed(paths) if path), node.name)
