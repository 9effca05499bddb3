"""ExecuTorch with the XNNPACK delegate, as on phones and boards: export, sessions, and modules to be timed.

It is an optional extra. A part of the network that XNNPACK does not support runs in slower kernels between several
delegates.
"""

from __future__ import annotations

import copy
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.compat.executorch import read_threads, set_threads
from dsft.devices import Compute
from dsft.errors import ExportError, ModelError
from dsft.measure.example import ExampleInput
from dsft.runtimes.interleaved_timing import Run
from dsft.runtimes.packages import require_packages, silenced
from dsft.runtimes.runtime import FileFormat, RuntimeSupport, Session
from dsft.runtimes.side_by_side import own_copies, tensors_of
from dsft.runtimes.tracing import trace_example


def require_executorch() -> None:
    """Check that the packages of the extra ``executorch`` are installed.

    Raises:
        ModelError: They are missing.
    """
    require_packages("ExecuTorch", "executorch", ("executorch", "torchao"))


@contextmanager
def open_executorch(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,  # noqa: ARG001 (the signature of all runtimes; the methods run on the CPU)
    threads: int,
) -> Iterator[list[Run]]:
    """Lower modules to one program, with a method for each.

    Args:
        modules: In evaluation mode.
        example_inputs: The input of each, which determines its shapes.
        compute: Not used.
        threads: Number of threads.

    Raises:
        ModelError: ExecuTorch is not installed, or cannot run the modules.
    """
    require_executorch()
    with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
        path, examples = Path(folder) / "parts.pte", own_copies(example_inputs)
        try:
            programs = {
                f"part_{index}": trace_example(_contiguous(module), *_arguments(example))
                for index, (module, example) in enumerate(zip(modules, examples, strict=True))
            }
            path.write_bytes(lower_programs(programs))
            runs: list[Run] = []
            for name, example in zip(programs, examples, strict=True):
                runs.append(partial(_load(path, name, threads).execute, tensors_of(example)))
        except ExportError as error:
            raise ModelError(f"runtime executorch: {error} Choose the runtime eager.") from error
        yield runs


def _contiguous(module: nn.Module) -> nn.Module:
    """Return the module, or a copy where it has weights in another memory layout, which ExecuTorch refuses."""
    if all(value.is_contiguous() for value in (*module.parameters(), *module.buffers())):
        return module
    return copy.deepcopy(module).to(memory_format=torch.contiguous_format)


def write_executorch(program: ExportedProgram, path: Path, output: str) -> None:  # noqa: ARG001 (it has no names)
    """Write a traced network as a program for the batch size that it was traced with.

    Raises:
        ExportError: ExecuTorch cannot lower the network.
        ModelError: A package is missing.
    """
    path.write_bytes(lower_programs({"forward": program}))


def load_executorch(path: Path, threads: int) -> Session:
    """Load a program, whose session splits batches into those of its own size.

    Args:
        path: The ``.pte`` file, with one input and one output.
        threads: Number of threads, of all programs of the process; 0 leaves it unchanged.

    Raises:
        ModelError: A package is missing, or ExecuTorch cannot run the file.
    """
    method = _load(path, "forward", threads)
    size = int(method.metadata.input_tensor_meta(0).sizes()[0])

    def run(images: Tensor) -> Tensor:
        missing = -len(images) % size
        filled = torch.cat([images, *([images[-1:]] * missing)])
        parts = [method.execute([part.contiguous()])[0].clone() for part in torch.split(filled, size)]
        return torch.cat(parts)[: len(images)]

    return run


def lower_programs(programs: Mapping[str, ExportedProgram]) -> bytes:
    """Lower one program for each method, as far as possible to XNNPACK, and return the file's content.

    Raises:
        ExportError: ExecuTorch cannot lower a program.
        ModelError: A package is missing.
    """
    require_executorch()
    with silenced():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        lower: Callable[..., Any] = to_edge_transform_and_lower
        try:
            lowered = lower(dict(programs), partitioner=[XnnpackPartitioner()]).to_executorch()
        except Exception as error:  # its passes raise errors of every kind
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise ExportError(
                f"the network cannot be lowered to ExecuTorch ({type(error).__name__}: {reason})."
            ) from error
        return bytes(lowered.buffer)


def _load(path: Path, name: str, threads: int) -> Any:
    require_executorch()
    if threads:
        with silenced():
            _set_threads(threads)
    try:
        with silenced():
            from executorch.runtime import Runtime

            method = Runtime.get().load_program(path).load_method(name)
    except Exception as error:  # its errors are plain RuntimeErrors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"ExecuTorch cannot run {path.name!r} ({reason}).") from error
    if method is None:
        raise ModelError(f"ExecuTorch cannot run {path.name!r} (it has no method {name!r}).")
    _LOADED.add(method)
    return method


def _set_threads(count: int) -> None:
    """Set the number of threads of methods that are loaded from now on, which keep a pointer to the pool of threads."""
    before = read_threads()
    if before != count and len(_LOADED):
        raise ModelError(
            f"runtime executorch: all programs of a process use the same number of threads, found {before} for those "
            f"that are loaded and {count} asked for. Ask for {before} threads, or delete the loaded programs first."
        )
    if not set_threads(count):
        raise ModelError(
            f"runtime executorch: this version of ExecuTorch does not run with {count} threads as asked for. Choose "
            "another runtime, or another version: pip install --upgrade executorch"
        )


_LOADED: weakref.WeakSet[Any] = weakref.WeakSet()
"""The methods in memory. To change the number of threads destroys the pool of threads, and methods would crash."""


def _arguments(example: ExampleInput) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example if isinstance(example, tuple) else (example,)), None


EXECUTORCH = RuntimeSupport(
    open_executorch,
    require_executorch,
    packages=("torch", "executorch"),
    file_format=FileFormat(ExportFormat.EXECUTORCH, ".pte", write_executorch, load_executorch, has_dynamic_batch=False),
    dtypes=("float32",),
    device_types=("cpu",),
    uses_compute=False,
)
