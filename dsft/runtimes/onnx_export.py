"""ONNX files: written by torch's exporter, run by ONNX Runtime; an optional extra of the installation."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dsft.errors import ExportError
from dsft.runtimes.tracing import BATCH

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "images", "logits"
"""Names of the graph's input and output."""


def require_onnx() -> None:
    """Check that the packages of the extra ``onnx`` are installed.

    Raises:
        ExportError: One is missing.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ExportError(f"ONNX needs the package {', '.join(missing)}. Install it with: pip install 'dsft[onnx]'")


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write a traced network as one ONNX file.

    Raises:
        ExportError: An operator of the network has no counterpart in ONNX, or the packages are missing.
    """
    require_onnx()
    try:
        with warnings.catch_warnings():
            # What it warns of is its own code.
            warnings.simplefilter("ignore")
            written = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise ExportError(f"the network has no ONNX form: {type(error).__name__}: {reason}") from error
    assert written is not None  # noqa: S101 (so it is where no file is named)
    written.save(str(path), external_data=False)


class OnnxSession:
    """An ONNX file that runs on the CPU.

    Args:
        path: The file.
        threads: Threads of one operator; 0 leaves the choice to ONNX Runtime.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        require_onnx()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors: it warns of what it optimises away
        self._session: Any = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, channels, height, width)``, both float32."""
        inputs = {self._session.get_inputs()[0].name: images.contiguous().numpy()}
        return torch.from_numpy(self._session.run(None, inputs)[0])


def operator_types(path: Path) -> set[str]:
    """Return the types of a file's operators; those of other domains than ONNX's own have the domain before them."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return {f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type for node in nodes}
