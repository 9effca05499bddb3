"""INT8 by static quantization of an ONNX file (ONNX Runtime's, in QDQ format)."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dsft.errors import ExportError
from dsft.runtimes.onnx_export import INPUT
from dsft.runtimes.onnx_runtime import require_onnx


def quantize_onnx(source: Path, target: Path, calibration: Iterable[Tensor]) -> None:
    """Quantize an ONNX file statically: int8 weights per channel, uint8 activations with calibrated ranges.

    Args:
        source: The float32 file.
        target: The new file.
        calibration: Preprocessed images in batches ``(batch, channels, height, width)``, float32.

    Raises:
        ExportError: ONNX Runtime cannot quantize the file.
        ModelError: A package is missing.
    """
    require_onnx()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=target.parent) as folder, _silenced():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(target),
                _CalibrationReader(iter(calibration)),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        except Exception as error:  # it raises plain exceptions of every kind
            raise ExportError(f"ONNX Runtime cannot quantize the network ({type(error).__name__}: {error}).") from error


@dataclass(frozen=True)
class _CalibrationReader:
    """The interface of ``onnxruntime.quantization.CalibrationDataReader`` over batches of images."""

    batches: Iterator[Tensor]

    def get_next(self) -> dict[str, Any] | None:
        images = next(self.batches, None)
        return None if images is None else {INPUT: images.contiguous().numpy()}


@contextmanager
def _silenced() -> Iterator[None]:
    """Suppress log messages and warnings of the quantization, which users cannot act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
