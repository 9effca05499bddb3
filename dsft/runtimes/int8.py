"""INT8 by static quantization: of ONNX and OpenVINO with NNCF, an optional extra, and of ExecuTorch with torchao."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.errors import InputError, RecipeError
from dsft.runtimes.equalization import equalized_channels
from dsft.runtimes.executorch_int8 import quantize_program
from dsft.runtimes.executorch_runtime import require_executorch
from dsft.runtimes.nncf_int8 import quantize_onnx, quantize_openvino
from dsft.runtimes.packages import require_packages
from dsft.runtimes.runtime import DropLimit


@dataclass(frozen=True)
class _Quantizer:
    """How files of a format are quantized.

    Attributes:
        require: Raises ``ModelError`` if a package is missing.
        quantize: Takes what :func:`quantize_file` takes after the format, the calibration images one by one.
    """

    require: Callable[[], None]
    quantize: Callable[[ExportedProgram, str, Path, Sequence[Tensor], DropLimit | None], tuple[str, ...]]


def _require_nncf() -> None:
    require_packages("--int8", "int8", ("nncf",), oldest={"nncf": (3,)})


_QUANTIZERS: Mapping[ExportFormat, _Quantizer] = {
    ExportFormat.ONNX: _Quantizer(_require_nncf, quantize_onnx),
    ExportFormat.OPENVINO: _Quantizer(_require_nncf, quantize_openvino),
    ExportFormat.EXECUTORCH: _Quantizer(require_executorch, quantize_program),
}


QUANTIZED_FORMATS = tuple(_QUANTIZERS)
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
    if form not in _QUANTIZERS:
        raise RecipeError(
            f"--int8: quantizes files of {', '.join(_QUANTIZERS)}, found --to {form}. Leave --int8 out, or choose one "
            "of them."
        )
    _QUANTIZERS[form].require()


def quantize_file(
    form: ExportFormat,
    program: ExportedProgram,
    output: str,
    target: Path,
    calibration: Sequence[Tensor],
    limit: DropLimit | None = None,
) -> tuple[str, ...]:
    """Write a quantized network: int8 weights per channel, and int8 activations with calibrated ranges.

    Channels between two convolutions are scaled to equal ranges before, see
    :func:`~dsft.runtimes.equalization.equalized_channels`. Ranges that leave out rare values suit one network, and
    ranges of all values another: NNCF tries both, and those are kept whose outputs on the calibration images have the
    smaller error. With a limit, layers are returned to float32, one by one, until the score is within it, first those
    that change it most.

    Args:
        form: Format of the file.
        program: The traced network.
        output: Name of its output.
        target: The new file.
        calibration: Preprocessed images in batches ``(batch, channels, height, width)``, float32.
        limit: How much of a score may be lost on these images; None for any.

    Returns:
        The names of the layers with weights that remain in float32.

    Raises:
        ExportError: The network cannot be quantized.
        ModelError: A package is missing.
        RecipeError: There is no quantization of this format.
    """
    require_int8(form)
    images = [image for batch in calibration for image in torch.split(batch.contiguous(), 1)]
    with equalized_channels(program, images):
        return _QUANTIZERS[form].quantize(program, output, target, images, limit)
