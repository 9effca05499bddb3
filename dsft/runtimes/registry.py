"""The runtimes that can run a network, and the capabilities of each.

A new runtime is one file with a :class:`~dsft.runtimes.runtime.RuntimeSupport`, one name in
:class:`~dsft.choices.Runtime` and one entry in :data:`RUNTIMES`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dsft.choices import ExportFormat, Runtime
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.measure.example import ExampleInput, evaluation_mode
from dsft.runtimes.executorch_runtime import EXECUTORCH
from dsft.runtimes.interleaved_timing import Run, fixed_threads
from dsft.runtimes.onnx_sessions import ONNXRUNTIME
from dsft.runtimes.openvino_runtime import OPENVINO
from dsft.runtimes.runtime import FileFormat, RuntimeSupport, dtype_name
from dsft.runtimes.torch_runtimes import COMPILED, EAGER
from dsft.runtimes.tracing import trace_folded

RUNTIMES: dict[Runtime, RuntimeSupport] = {
    Runtime.EAGER: EAGER,
    Runtime.COMPILED: COMPILED,
    Runtime.ONNXRUNTIME: ONNXRUNTIME,
    Runtime.OPENVINO: OPENVINO,
    Runtime.EXECUTORCH: EXECUTORCH,
}

FILE_FORMATS: dict[ExportFormat, tuple[Runtime, FileFormat]] = {
    support.file_format.form: (runtime, support.file_format)
    for runtime, support in RUNTIMES.items()
    if support.file_format is not None
}
"""The formats of files that runtimes run, each with its runtime."""


@contextmanager
def open_runs(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    runtime: Runtime = Runtime.EAGER,
    *,
    threads: int = 1,
) -> Iterator[list[Run]]:
    """Yield the forward pass of each module, in evaluation mode and without gradients.

    Args:
        modules: The modules, on the device.
        example_inputs: The input of each, on the device.
        compute: The device and the number format.
        runtime: What runs the modules.
        threads: Number of threads per operator.

    Raises:
        ModelError: The runtime is not installed, does not support the device or a number format, or cannot run the
            modules.
    """
    require_supported(runtime, modules, compute)
    opened = RUNTIMES[runtime].open
    with (
        fixed_threads(threads),
        torch.no_grad(),
        evaluation_mode(nn.ModuleList(modules)),
        opened(modules, example_inputs, compute, threads) as runs,
    ):
        yield runs


@contextmanager
def open_exported(
    networks: Sequence[nn.Module], images: Sequence[Tensor], runtime: Runtime, *, threads: int = 1
) -> Iterator[list[Run]]:
    """Yield forward passes of networks as ``dsft export`` writes them for a runtime, batch norms folded.

    Args:
        networks: Image classifiers on the CPU, float32, in evaluation mode.
        images: The batch of each ``(batch, channels, height, width)``, float32.
        runtime: A runtime with a file format.
        threads: Number of threads.

    Raises:
        ExportError: A network cannot be exported.
        ModelError: The runtime is not installed, or cannot run a network.
    """
    support = RUNTIMES[runtime]
    support.require_usable()
    file_format = support.required_file_format
    # Sessions may read weights from the files as long as they run.
    with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder, fixed_threads(threads):
        runs: list[Run] = []
        for index, (network, batch) in enumerate(zip(networks, images, strict=True)):
            path = Path(folder) / f"{index}{file_format.suffix}"
            program, _ = trace_folded(network, batch, dynamic_batch=file_format.has_dynamic_batch)
            file_format.write(program, path, "output")
            runs.append(partial(file_format.load(path, threads), batch))
        yield runs


def require_supported(runtime: Runtime, modules: Sequence[nn.Module], compute: Compute) -> None:
    """Check that a runtime is installed and can run modules on a device.

    Raises:
        ModelError: A package is missing, or the device or the number format of a weight is not supported.
    """
    support = RUNTIMES[runtime]
    support.require_usable()
    weights = (weight.dtype for module in modules for weight in module.parameters() if weight.is_floating_point())
    dtype = next((each for each in weights if not support.supports_dtype(each)), torch.float32)
    if not support.supports_device(compute.device) or not support.supports_dtype(dtype):
        devices, dtypes = ("/".join(names or ("any",)) for names in (support.device_types, support.dtypes))
        raise ModelError(
            f"runtime {runtime}: supports device {devices} and dtype {dtypes}, found {compute.device.type} and "
            f"{dtype_name(dtype)}. Choose the device {devices}, or the runtime eager."
        )


def why_unusable(runtime: Runtime) -> str | None:
    """Return why a runtime cannot be used on this machine, or None if it can."""
    try:
        RUNTIMES[runtime].require_usable()
    except ModelError as error:
        return str(error)
    return None
