"""INT8 for ONNX and OpenVINO, whose files NNCF quantizes."""

from __future__ import annotations

import ast
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
from dsft.errors import ExportError
from dsft.runtimes.openvino_runtime import FLOAT32
from dsft.runtimes.packages import silenced
from dsft.runtimes.runtime import INPUT, DropLimit

_RANGES = ("MEAN_MINMAX", "MINMAX")
"""What the range of an activation is, as NNCF names it: the mean of the images' own ranges, or all that occurs."""


@dataclass(frozen=True)
class _Files:
    """How NNCF reads, feeds, compiles, runs and writes files of a format, and which layers of a file are in float32."""

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


_ONNX = _Files(_read_onnx, _write_onnx, lambda image: {INPUT: image}, _start_onnx, _float_layers_of_onnx)
_OPENVINO = _Files(
    _read_openvino,
    _write_openvino,
    lambda image: image,
    _start_openvino,
    _float_layers_of_openvino,
    _compile_openvino,
    one_core,
)


def quantize_onnx(
    program: ExportedProgram,  # noqa: ARG001 (the signature of all quantizers; NNCF reads the file)
    source: Path,
    target: Path,
    images: Sequence[Tensor],
    limit: DropLimit | None,
) -> tuple[str, ...]:
    """Quantize an ONNX file; see :func:`dsft.runtimes.int8.quantize_file`."""
    return _quantize_file(_ONNX, source, target, images, limit)


def quantize_openvino(
    program: ExportedProgram,  # noqa: ARG001 (see quantize_onnx)
    source: Path,
    target: Path,
    images: Sequence[Tensor],
    limit: DropLimit | None,
) -> tuple[str, ...]:
    """Quantize an OpenVINO file; see :func:`dsft.runtimes.int8.quantize_file`."""
    return _quantize_file(_OPENVINO, source, target, images, limit)


def _quantize_file(
    files: _Files, source: Path, target: Path, images: Sequence[Tensor], limit: DropLimit | None
) -> tuple[str, ...]:
    fed = [files.feed(image.numpy()) for image in images]
    with silenced(), files.surroundings():
        try:
            model = files.read(source)
            ranges, quantized = _quantize(files, model, fed)
            if limit is not None and _loss(files, model, quantized, fed, limit) > limit.largest:
                quantized = _quantize_within(files, model, fed, ranges, limit)
            files.write(quantized, target)
        except Exception as error:  # it raises errors of every kind
            raise ExportError(f"NNCF cannot quantize the network ({type(error).__name__}: {error}).") from error
        return files.float_layers(quantized)


def _quantize(files: _Files, model: Any, images: Sequence[Any]) -> tuple[str, Any]:
    """Return the ranges with the smaller error of the outputs, and the model that is quantized with them."""
    nncf = import_quietly("nncf")

    def attempt(ranges: str) -> Any:
        advanced = nncf.AdvancedQuantizationParameters(activations_range_estimator_params=_estimator(ranges))
        # The fast correction of biases regards each layer alone, which can cost more than it wins.
        options = {"fast_bias_correction": False, "advanced_parameters": advanced}
        return nncf.quantize(model, nncf.Dataset(images), **_options(images), **options)

    trials = {ranges: attempt(ranges) for ranges in _RANGES}
    best = min(trials, key=lambda ranges: _error(files, model, trials[ranges], images))
    return best, trials[best]


def _quantize_within(files: _Files, model: Any, images: Sequence[Any], ranges: str, limit: DropLimit) -> Any:
    """Return a quantized model that loses no more than the limit, with layers in float32."""
    nncf = import_quietly("nncf")

    def validate(trial: Any, positions: Iterable[int]) -> tuple[float, list[float]]:
        run, chosen = files.start(trial), list(positions)
        outputs = [_output(run, images[position]) for position in chosen]
        each = [limit.score(output, [position]) for output, position in zip(outputs, chosen, strict=True)]
        return limit.score(torch.cat(outputs), chosen), each

    # A corrected bias makes up for the layers before it, and would be wrong once one of them is in float32.
    advanced = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=_estimator(ranges), disable_bias_correction=True
    )
    return nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(images),
        nncf.Dataset(range(len(images)), lambda position: images[position]),
        validate,
        max_drop=limit.largest,
        drop_type=nncf.DropType.ABSOLUTE,
        advanced_quantization_parameters=advanced,
        **_options(images),
    )


def _options(images: Sequence[Any]) -> dict[str, Any]:
    # Activations after a ReLU in unsigned, others in asymmetric ranges, as the runtimes' kernels take them.
    return {"preset": import_quietly("nncf").QuantizationPreset.MIXED, "subset_size": len(images)}


def _estimator(ranges: str) -> Any:
    return getattr(import_quietly("nncf.quantization.range_estimator").RangeEstimatorParametersSet, ranges)


def _error(files: _Files, model: Any, trial: Any, images: Sequence[Any]) -> float:
    """Return the mean squared error of the outputs of a quantized model; infinite where one is not a number."""
    expected, found = (files.start(files.compiled(each)) for each in (model, trial))
    errors = [np.square(np.subtract(expected(each), found(each), dtype=np.float64)).mean() for each in images]
    return float(np.nan_to_num(np.mean(errors), nan=np.inf))


def _loss(files: _Files, model: Any, trial: Any, images: Sequence[Any], limit: DropLimit) -> float:
    """Return how much lower the score of a quantized model is."""
    runs = (files.start(files.compiled(each)) for each in (model, trial))
    before, after = (
        limit.score(torch.cat([_output(run, image) for image in images]), range(len(images))) for run in runs
    )
    return before - after


def _output(run: Callable[[Any], Any], image: Any) -> Tensor:
    return torch.from_numpy(run(image).copy())
