"""Modules exported to ONNX and loaded into ONNX Runtime, to be timed there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from dsft.choices import ExportFormat
from dsft.devices import Compute
from dsft.errors import ExportError, ModelError
from dsft.measure.example import ExampleInput
from dsft.runtimes.interleaved_timing import Run
from dsft.runtimes.onnx_export import to_onnx, write_onnx
from dsft.runtimes.onnx_runtime import OnnxSession, create_session, require_onnx
from dsft.runtimes.runtime import FileFormat, RuntimeSupport
from dsft.runtimes.side_by_side import SideBySide, divide, own_copies, tensors_of


@contextmanager
def open_sessions(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,  # noqa: ARG001 (the signature of all runtimes; the sessions are on the CPU)
    threads: int,
) -> Iterator[list[Run]]:
    """Export modules and load each into a separate session.

    A call of torch's exporter takes a second or more, whatever the size of the module. Therefore all modules are
    exported in one call, and each is extracted from the graph.

    Args:
        modules: In evaluation mode.
        example_inputs: The input of each, which determines its shapes.
        compute: Not used.
        threads: Number of threads per operator.

    Raises:
        ModelError: ONNX Runtime is not installed, or cannot run the modules.
    """
    require_onnx()
    # The sessions read weights from the files as long as they run.
    with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
        try:
            runs = _open_all(modules, example_inputs, Path(folder), threads)
        except (ExportError, ModelError) as error:
            raise ModelError(f"runtime onnxruntime: {error} Choose the runtime eager.") from error
        yield runs


def _open_all(
    modules: Sequence[nn.Module], example_inputs: Sequence[ExampleInput], folder: Path, threads: int
) -> list[Run]:
    import onnx_ir

    examples = own_copies(example_inputs)
    together = SideBySide(modules).eval()
    outputs = [len(found) for found in together(examples)]
    # The return type's annotation is a protocol that onnx_ir's functions do not accept.
    model: Any = to_onnx(together, (examples,)).model
    tensors = [tensors_of(example) for example in examples]
    input_names = divide([value.name for value in model.graph.inputs], [len(found) for found in tensors])
    output_names = divide([value.name for value in model.graph.outputs], outputs)
    runs: list[Run] = []
    for index, (names, results, found) in enumerate(zip(input_names, output_names, tensors, strict=True)):
        part = onnx_ir.convenience.extract(model.graph, inputs=names, outputs=results)
        file = folder / f"{index}.onnx"
        onnx_ir.save(onnx_ir.Model(part, ir_version=model.ir_version), file, external_data=f"{index}.data")
        feed = dict(zip(names, (tensor.numpy() for tensor in found), strict=True))
        runs.append(partial(create_session(file, threads).run, None, feed))
    return runs


ONNXRUNTIME = RuntimeSupport(
    open_sessions,
    require_onnx,
    packages=("torch", "onnxruntime", "onnxscript"),
    file_format=FileFormat(ExportFormat.ONNX, ".onnx", write_onnx, OnnxSession),
    dtypes=("float32",),
    device_types=("cpu",),
    uses_compute=False,
)
