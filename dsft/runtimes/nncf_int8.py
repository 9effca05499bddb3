"""INT8 for ONNX and OpenVINO, whose files NNCF quantizes."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from dsft.compat.openvino import import_quietly, one_core, openvino_core
from dsft.compat.torch_symbols import forget_pending_symbols
from dsft.errors import ExportError
from dsft.runtimes.onnx_export import write_onnx
from dsft.runtimes.openvino_runtime import FLOAT32, write_openvino
from dsft.runtimes.packages import silenced
from dsft.runtimes.runtime import INPUT, DropLimit

_RANGES = ("MEAN_MINMAX", "MINMAX")
"""What the range of an activation is, as NNCF names it: the mean of the images' own ranges, or all that occurs."""


@dataclass(frozen=True)
class _Files:
    """How files of a format are written, read, fed and run, and which layers of a file are in float32."""

    write_program: Callable[[ExportedProgram, Path, str], None]
    read: Callable[[Path], Any]
    write: Callable[[Any, Path], None]
    feed: Callable[[Any], Any]
    start: Callable[[Any], Callable[[Any], Any]]
    float_layers: Callable[[Any], tuple[str, ...]]
    compiled: Callable[[Any], Any] = lambda model: model
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


def _compile_openvino(model: Any) -> Any:
    return openvino_core().compile_model(model, "CPU", FLOAT32)


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


_ONNX = _Files(write_onnx, _read_onnx, _write_onnx, lambda image: {INPUT: image}, _start_onnx, _float_layers_of_onnx)
_OPENVINO = _Files(
    write_openvino,
    _read_openvino,
    _write_openvino,
    lambda image: image,
    _start_openvino,
    _float_layers_of_openvino,
    _compile_openvino,
    one_core,
)


def quantize_onnx(
    program: ExportedProgram, output: str, target: Path, images: Sequence[Tensor], limit: DropLimit | None
) -> tuple[str, ...]:
    """Write a quantized ONNX file; see :func:`dsft.runtimes.int8.quantize_file`."""
    return _quantize_file(_ONNX, program, output, target, images, limit)


def quantize_openvino(
    program: ExportedProgram, output: str, target: Path, images: Sequence[Tensor], limit: DropLimit | None
) -> tuple[str, ...]:
    """Write a quantized OpenVINO file; see :func:`dsft.runtimes.int8.quantize_file`."""
    return _quantize_file(_OPENVINO, program, output, target, images, limit)


def _quantize_file(
    files: _Files,
    program: ExportedProgram,
    output: str,
    target: Path,
    images: Sequence[Tensor],
    limit: DropLimit | None,
) -> tuple[str, ...]:
    fed = [files.feed(image.numpy()) for image in images]
    with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
        source = Path(folder) / f"float32{target.suffix}"
        forget_pending_symbols(program)
        files.write_program(program, source, output)
        with silenced(), files.surroundings():
            try:
                quantized = _quantize(files, source, fed, limit)
                files.write(quantized, target)
            except Exception as error:  # it raises errors of every kind
                raise ExportError(f"NNCF cannot quantize the network ({type(error).__name__}: {error}).") from error
            return files.float_layers(quantized)


def _quantize(files: _Files, source: Path, images: Sequence[Any], limit: DropLimit | None) -> Any:
    """Return a model that is quantized with the ranges that give the smaller error."""
    nncf = import_quietly("nncf")

    def attempt(ranges: str) -> Any:
        # It may change the model that it is given.
        return nncf.quantize(
            files.read(source), nncf.Dataset(images), advanced_parameters=_advanced(ranges), **_options(images)
        )

    trials = {ranges: attempt(ranges) for ranges in _RANGES}
    best = min(trials, key=lambda ranges: _error(files, files.read(source), trials[ranges], images))
    return trials[best] if limit is None else _quantize_within(files, files.read(source), images, best, limit)


def _quantize_within(files: _Files, model: Any, images: Sequence[Any], ranges: str, limit: DropLimit) -> Any:
    """Return a quantized model that loses no more than the limit, with layers in float32."""
    nncf = import_quietly("nncf")

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
        advanced_quantization_parameters=_advanced(ranges),
        **_options(images),
    )


def _options(images: Sequence[Any]) -> dict[str, Any]:
    # Activations after a ReLU in unsigned, others in asymmetric ranges, as the runtimes' kernels take them.
    return {"preset": import_quietly("nncf").QuantizationPreset.MIXED, "subset_size": len(images)}


def _advanced(ranges: str) -> Any:
    nncf, estimators = import_quietly("nncf"), import_quietly("nncf.quantization.range_estimator")
    parameters = import_quietly("nncf.quantization.advanced_parameters")
    return nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=getattr(estimators.RangeEstimatorParametersSet, ranges),
        # NNCF gives the inputs of depthwise convolutions a scale for each channel. ONNX Runtime has no kernel for that,
        # and OpenVINO 2026.4 computes wrong values where such an input has one pixel and the batch one image.
        activations_quantization_params=parameters.QuantizationParameters(per_channel=False),
        # It can cost more than it wins, and is wrong for the layers behind one that returns to float32.
        disable_bias_correction=True,
    )


def _error(files: _Files, model: Any, trial: Any, images: Sequence[Any]) -> float:
    """Return the mean squared error of the outputs of a quantized model; infinite where one is not a number."""
    expected, found = (files.start(files.compiled(each)) for each in (model, trial))
    errors = [np.square(np.subtract(expected(each), found(each), dtype=np.float64)).mean() for each in images]
    return float(np.nan_to_num(np.mean(errors), nan=np.inf))
