"""INT8 by static quantization: of ONNX and OpenVINO with NNCF, an optional extra, and of ExecuTorch with torchao."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.compat.openvino import import_quietly, one_core, openvino_core
from dsft.errors import ExportError, InputError, RecipeError
from dsft.runtimes.executorch_int8 import quantize_program
from dsft.runtimes.executorch_runtime import require_executorch
from dsft.runtimes.packages import require_packages, silenced
from dsft.runtimes.runtime import INPUT, DropLimit


@dataclass(frozen=True)
class _Files:
    """How NNCF reads, feeds, runs and writes the files of a format, and which layers of a file are in float32."""

    read: Callable[[Path], Any]
    write: Callable[[Any, Path], None]
    feed: Callable[[Any], Any]
    start: Callable[[Any], Callable[[Any], Any]]
    float_layers: Callable[[Any], tuple[str, ...]]
    surroundings: Callable[[], AbstractContextManager[None]] = nullcontext


def _read_onnx(path: Path) -> Any:
    import onnx

    return onnx.load(str(path))


def _write_onnx(model: Any, path: Path) -> None:
    import onnx

    onnx.save(model, str(path))


def _start_onnx(model: Any) -> Callable[[Any], Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0]


def _float_layers_of_onnx(model: Any) -> tuple[str, ...]:
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return tuple(
        _layer_of(node)
        for node in model.graph.node
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and node.input[1] not in dequantized
    )


def _layer_of(node: Any) -> str:
    """Return the name of the module that a node computes, which torch's exporter records, or else that of the node."""
    recorded = {each.key: each.value for each in node.metadata_props}.get("pkg.torch.onnx.name_scopes")
    scopes = ast.literal_eval(recorded) if recorded else []
    return str(scopes[-2]) if len(scopes) > 1 else str(node.name)


def _read_openvino(path: Path) -> Any:
    return openvino_core().read_model(str(path))


def _write_openvino(model: Any, path: Path) -> None:
    import_quietly("openvino").save_model(model, str(path), compress_to_fp16=False)


def _start_openvino(compiled: Any) -> Callable[[Any], Any]:
    return lambda feed: compiled(feed)[0]


def _float_layers_of_openvino(model: Any) -> tuple[str, ...]:
    """Return the names of layers whose weights are plain constants; those of others come from integers."""
    layers = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
    return tuple(
        node.get_friendly_name().partition("/")[0]
        for node in model.get_ordered_ops()
        if node.get_type_name() in layers and not _reads_integers(node.input_value(1).get_node())
    )


def _reads_integers(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return bool(node.get_element_type().is_integral())
    return any(_reads_integers(source.get_node()) for source in node.input_values())


@dataclass(frozen=True)
class _Quantizer:
    """How files of a format are quantized.

    Attributes:
        require: Raises ``ModelError`` if a package is missing.
        quantize: Takes what :func:`quantize_file` takes after the format, the calibration images one by one.
    """

    require: Callable[[], None]
    quantize: Callable[[ExportedProgram, Path, Path, Sequence[Tensor], DropLimit | None], tuple[str, ...]]


def _require_nncf() -> None:
    require_packages("--int8", "int8", ("nncf",), oldest={"nncf": (3,)})


def _quantize_file(
    files: _Files,
    program: ExportedProgram,  # noqa: ARG001 (the signature of all quantizers; NNCF reads the file)
    source: Path,
    target: Path,
    images: Sequence[Tensor],
    limit: DropLimit | None,
) -> tuple[str, ...]:
    fed = [files.feed(image.numpy()) for image in images]
    with silenced(), files.surroundings():
        try:
            quantized = _quantize(files, files.read(source), fed, limit)
            files.write(quantized, target)
        except Exception as error:  # it raises errors of every kind
            raise ExportError(f"NNCF cannot quantize the network ({type(error).__name__}: {error}).") from error
        return files.float_layers(quantized)


_ONNX = _Files(_read_onnx, _write_onnx, lambda image: {INPUT: image}, _start_onnx, _float_layers_of_onnx)
_OPENVINO = _Files(
    _read_openvino, _write_openvino, lambda image: image, _start_openvino, _float_layers_of_openvino, one_core
)
_QUANTIZERS: Mapping[ExportFormat, _Quantizer] = {
    ExportFormat.ONNX: _Quantizer(_require_nncf, partial(_quantize_file, _ONNX)),
    ExportFormat.OPENVINO: _Quantizer(_require_nncf, partial(_quantize_file, _OPENVINO)),
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
    source: Path,
    target: Path,
    calibration: Sequence[Tensor],
    limit: DropLimit | None = None,
) -> tuple[str, ...]:
    """Quantize an exported file: int8 weights per channel, and int8 activations with calibrated ranges.

    NNCF also corrects the biases for the mean error that the quantization adds to each channel (Nagel et al. 2019,
    arXiv:1906.04721, section 4.2). With a limit, layers are returned to float32, one by one, until the score is
    within it, first those that change it most.

    Args:
        form: Format of the file.
        program: The network that was written to the file.
        source: The float32 file.
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
    return _QUANTIZERS[form].quantize(program, source, target, images, limit)


def _quantize(files: _Files, model: Any, images: Sequence[Any], limit: DropLimit | None) -> Any:
    nncf = import_quietly("nncf")
    # Activations after a ReLU in unsigned, others in asymmetric ranges, as the runtimes' kernels take them.
    options = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": len(images)}
    if limit is None:
        return nncf.quantize(model, nncf.Dataset(images), **options)

    def validate(trial: Any, positions: Iterable[int]) -> tuple[float, list[float]]:
        run, chosen = files.start(trial), list(positions)
        outputs = [torch.from_numpy(run(images[position]).copy()) for position in chosen]
        each = [limit.score(output, [position]) for output, position in zip(outputs, chosen, strict=True)]
        return limit.score(torch.cat(outputs), chosen), each

    return nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(images),
        nncf.Dataset(range(len(images)), lambda position: images[position]),
        validate,
        max_drop=limit.largest,
        drop_type=nncf.DropType.ABSOLUTE,
        **options,
    )
