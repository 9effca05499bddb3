"""ONNX Runtime: the check that it is installed, and sessions on the CPU. It is an optional extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsft.errors import ModelError
from dsft.runtimes.packages import require_packages

PACKAGES = ("onnx", "onnx_ir", "onnxscript", "onnxruntime")
"""Import names of the packages of the extra ``onnx``."""


def require_onnx() -> None:
    """Check that the packages of the extra ``onnx`` are installed.

    Raises:
        ModelError: One of them is missing.
    """
    require_packages("ONNX Runtime", "onnx", PACKAGES)


def create_session(path: Path, threads: int = 0) -> Any:
    """Load an ONNX file into an ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        path: The file.
        threads: Number of threads per operator; 0 lets ONNX Runtime choose.

    Raises:
        ModelError: A package is missing, or ONNX Runtime cannot run the file.
    """
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # only errors: the warnings are about its own optimizations
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes have no public base class
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"ONNX Runtime cannot run {path.name!r} ({reason}).") from error


class OnnxSession:
    """An exported classifier in ONNX Runtime.

    Args:
        path: The ONNX file, with one input and one output.
        threads: Number of threads per operator; 0 lets ONNX Runtime choose.

    Raises:
        ModelError: A package is missing, or ONNX Runtime cannot run the file.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self._session = create_session(path, threads)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, channels, height, width)``, both float32."""
        inputs = {self._session.get_inputs()[0].name: images.contiguous().numpy()}
        return torch.from_numpy(self._session.run(None, inputs)[0])
