"""INT8 by static quantization of exported files with NNCF. It is an optional extra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsft.choices import ExportFormat
from dsft.compat.openvino import import_quietly, openvino_core
from dsft.errors import ExportError, InputError, RecipeError
from dsft.runtimes.packages import require_packages, silenced
from dsft.runtimes.runtime import INPUT


@dataclass(frozen=True)
class _Backend:
    """How NNCF reads, feeds and writes the files of a format."""

    read: Callable[[Path], Any]
    write: Callable[[Any, Path], None]
    feed: Callable[[Any], Any]


def _read_onnx(path: Path) -> Any:
    import onnx

    return onnx.load(str(path))


def _write_onnx(model: Any, path: Path) -> None:
    import onnx

    onnx.save(model, str(path))


def _read_openvino(path: Path) -> Any:
    return openvino_core().read_model(str(path))


def _write_openvino(model: Any, path: Path) -> None:
    import_quietly("openvino").save_model(model, str(path), compress_to_fp16=False)


_BACKENDS: Mapping[ExportFormat, _Backend] = {
    ExportFormat.ONNX: _Backend(_read_onnx, _write_onnx, lambda image: {INPUT: image}),
    ExportFormat.OPENVINO: _Backend(_read_openvino, _write_openvino, lambda image: image),
}


QUANTIZED_FORMATS = tuple(_BACKENDS)
"""Formats whose files can be quantized."""


def why_unquantizable(form: ExportFormat) -> str | None:
    """Return why files of a format cannot be quantized on this machine, or None if they can."""
    try:
        require_int8(form)
    except InputError as error:
        return str(error)
    return None


def require_int8(form: ExportFormat) -> None:
    """Check that files of a format can be quantized on this machine.

    Raises:
        RecipeError: There is no quantization of this format.
        ModelError: A package is missing.
    """
    if form not in _BACKENDS:
        raise RecipeError(
            f"--int8: quantizes files of {' and '.join(_BACKENDS)}, found --to {form}. Leave --int8 out, or choose one "
            "of them."
        )
    require_packages("--int8", "int8", ("nncf",), oldest={"nncf": (3,)})


def quantize_file(form: ExportFormat, source: Path, target: Path, calibration: Sequence[Tensor]) -> None:
    """Quantize an exported file: int8 weights per channel, and int8 activations with calibrated ranges.

    The biases are corrected for the mean error that the quantization adds to each channel (Nagel et al. 2019,
    arXiv:1906.04721, section 4.2).

    Args:
        form: Format of the file.
        source: The float32 file.
        target: The new file.
        calibration: Preprocessed images in batches ``(batch, channels, height, width)``, float32.

    Raises:
        ExportError: NNCF cannot quantize the file.
        ModelError: A package is missing.
        RecipeError: There is no quantization of this format.
    """
    require_int8(form)
    backend = _BACKENDS[form]
    images = [backend.feed(image.numpy()) for batch in calibration for image in torch.split(batch.contiguous(), 1)]
    with silenced():
        nncf = import_quietly("nncf")
        try:
            quantized = nncf.quantize(
                backend.read(source),
                nncf.Dataset(images),
                # Activations after a ReLU in unsigned, others in asymmetric ranges, as the runtimes' kernels take them.
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
            )
            backend.write(quantized, target)
        except Exception as error:  # it raises errors of every kind
            raise ExportError(f"NNCF cannot quantize the network ({type(error).__name__}: {error}).") from error
