"""INT8 by static quantisation of an ONNX file (ONNX Runtime's, QDQ form)."""

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
from dsft.runtimes.onnx_export import INPUT, require_onnx


def quantize_onnx(source: Path, target: Path, calibration: Iterable[Tensor]) -> None:
    """Write an ONNX file with 8-bit weights (by channel) and activations, whose ranges are those of real images.

    Args:
        source: The float32 file.
        target: The new file.
        calibration: Batches ``(batch, channels, height, width)`` as the model takes them, float32.

    Raises:
        ExportError: ONNX Runtime cannot quantise the file, or the packages are missing.
    """
    require_onnx()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=target.parent) as folder, _quietly():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(target),
                _Reader(iter(calibration)),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        except Exception as error:  # it raises plain exceptions of every kind
            raise ExportError(f"ONNX Runtime cannot quantise the network ({type(error).__name__}: {error}).") from error


@dataclass(frozen=True)
class _Reader:
    """Hands out one batch after the other, as ONNX Runtime asks for them."""

    batches: Iterator[Tensor]

    def get_next(self) -> dict[str, Any] | None:
        images = next(self.batches, None)
        return None if images is None else {INPUT: images.contiguous().numpy()}


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the packages log and warn of away from the user, who cannot follow their advice."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
