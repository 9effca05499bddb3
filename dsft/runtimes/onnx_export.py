"""Conversion to ONNX by torch's exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.export import ExportedProgram

from dsft.errors import ExportError
from dsft.runtimes.onnx_runtime import require_onnx
from dsft.runtimes.packages import silenced
from dsft.runtimes.runtime import INPUT
from dsft.runtimes.tracing import BATCH

_STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""The key under which torch's exporter records where in the source a node comes from."""


def write_onnx(program: ExportedProgram, path: Path, output: str) -> None:
    """Write a traced network as one ONNX file with a dynamic batch size.

    Args:
        program: The network.
        path: The file.
        output: Name of its output.

    Raises:
        ExportError: An operator of the network has no counterpart in ONNX.
        ModelError: A package is missing.
    """
    exported = to_onnx(program, input_names=[INPUT], output_names=[output], dynamic_shapes=({0: BATCH},))
    for node in exported.model.graph.all_nodes():
        # It has the paths of this machine, and makes the file depend on them.
        node.metadata_props.pop(_STACK_TRACE, None)
    exported.save(str(path), external_data=False)


def to_onnx(module: nn.Module | ExportedProgram, *args: Any, **options: Any) -> torch.onnx.ONNXProgram:
    """Call ``torch.onnx.export`` without its messages, and without a file.

    Args:
        module: A module or a traced network.
        *args: Further positional arguments, such as the tuple of example inputs that a module needs.
        **options: Keyword arguments.

    Raises:
        ExportError: An operator of the network has no counterpart in ONNX, or the module cannot be traced.
        ModelError: A package is missing.
    """
    require_onnx()
    try:
        # Its messages are about torch's code and the network's, which the user cannot change.
        with silenced():
            exported = torch.onnx.export(module, *args, dynamo=True, verbose=False, **options)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise ExportError(
            f"the network cannot be converted to ONNX ({type(error).__name__}: {reason.strip()})."
        ) from error
    return cast("torch.onnx.ONNXProgram", exported)
