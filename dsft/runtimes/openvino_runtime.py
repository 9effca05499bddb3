"""OpenVINO on the CPU: export, sessions, and modules to be timed. It is an optional extra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.compat.openvino import import_quietly, openvino_core
from dsft.devices import Compute
from dsft.errors import ExportError, ModelError
from dsft.measure.example import ExampleInput
from dsft.runtimes.interleaved_timing import Run
from dsft.runtimes.packages import require_packages
from dsft.runtimes.runtime import INPUT, FileFormat, RuntimeSupport, Session
from dsft.runtimes.side_by_side import SideBySide, divide, own_copies, tensors_of
from dsft.runtimes.tracing import trace_example

_OLDEST = {"openvino": (2026, 0)}


FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without it a processor with bfloat16 instructions computes in bfloat16."""


def require_openvino() -> None:
    """Check that the package of the extra ``openvino`` is installed.

    Raises:
        ModelError: It is missing or too old.
    """
    require_packages("OpenVINO", "openvino", ("openvino",), oldest=_OLDEST)


@contextmanager
def open_openvino(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,  # noqa: ARG001 (the signature of all runtimes; the requests are on the CPU)
    threads: int,
) -> Iterator[list[Run]]:
    """Convert modules and compile each for the shapes of its input.

    A conversion takes a quarter of a second, whatever the size of the module. Therefore all modules are converted in
    one call, and each is extracted from the graph.

    Args:
        modules: In evaluation mode.
        example_inputs: The input of each, which determines its shapes.
        compute: Not used.
        threads: Number of threads.

    Raises:
        ModelError: OpenVINO is not installed, or cannot run the modules.
    """
    require_openvino()
    try:
        yield _open_all(modules, example_inputs, threads)
    except ExportError as error:
        raise ModelError(f"runtime openvino: {error} Choose the runtime eager.") from error


def write_openvino(program: ExportedProgram, path: Path, output: str) -> None:
    """Write a traced network as an XML file and a file of weights beside it, in float32.

    Raises:
        ExportError: An operator of the network has no counterpart in OpenVINO.
        ModelError: A package is missing.
    """
    model = _convert(program)
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({output})
    import_quietly("openvino").save_model(model, str(path), compress_to_fp16=False)


def load_openvino(path: Path, threads: int) -> Session:
    """Load a file into an inference request on the CPU that computes in float32.

    Args:
        path: The XML file, with one input and one output.
        threads: Number of threads; 0 lets OpenVINO choose.

    Raises:
        ModelError: A package is missing, or OpenVINO cannot run the file.
    """
    require_openvino()
    try:
        request = _compile(str(path), threads)
    except Exception as error:  # its exceptions are plain RuntimeErrors of many lines
        raise ModelError(f"OpenVINO cannot run {path.name!r} ({_last_line(error)}).") from error

    def run(images: Tensor) -> Tensor:
        # The output is a view of the request's buffer, which the next call overwrites.
        return torch.from_numpy(request.infer({0: images.contiguous().numpy()}, share_inputs=True)[0].copy())

    return run


def _open_all(modules: Sequence[nn.Module], example_inputs: Sequence[ExampleInput], threads: int) -> list[Run]:
    examples = own_copies(example_inputs)
    together = SideBySide(modules).eval()
    with torch.no_grad():
        outputs = [len(found) for found in together(examples)]
    model = _convert(trace_example(together, (examples,)))
    tensors = [tensors_of(example) for example in examples]
    parameters = divide(model.get_parameters(), [len(found) for found in tensors])
    runs: list[Run] = []
    for inputs, results, feed in zip(parameters, divide(model.get_results(), outputs), tensors, strict=True):
        part = import_quietly("openvino").Model(results, inputs, "part")
        request = _compile(part, threads)
        arrays = {index: tensor.numpy() for index, tensor in enumerate(feed)}
        runs.append(partial(request.infer, arrays, share_inputs=True))
    return runs


def _convert(program: ExportedProgram) -> Any:
    require_openvino()
    openvino = import_quietly("openvino")
    try:
        with warnings.catch_warnings():
            # They are about torch's code and the network's, which the user cannot change.
            warnings.simplefilter("ignore")
            return openvino.convert_model(program)
    except Exception as error:  # its frontend raises errors of many classes
        raise ExportError(f"the network cannot be converted to OpenVINO ({_last_line(error)}).") from error


def _compile(model: Any, threads: int) -> Any:
    options = {**FLOAT32, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    return openvino_core().compile_model(model, "CPU", options).create_infer_request()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


OPENVINO = RuntimeSupport(
    open_openvino,
    require_openvino,
    packages=("torch", "openvino"),
    file_format=FileFormat(ExportFormat.OPENVINO, ".xml", write_openvino, load_openvino, further_suffixes=(".bin",)),
    dtypes=("float32",),
    device_types=("cpu",),
    uses_compute=False,
)
