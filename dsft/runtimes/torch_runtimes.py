"""Modules run by torch: eager, or compiled by ``torch.compile``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.measure.example import ExampleInput, call
from dsft.runtimes.interleaved_timing import Run
from dsft.runtimes.runtime import FileFormat, RuntimeSupport, Session

_COMPILERS = ("g++", "clang++", "c++", "cl")


@contextmanager
def open_eager(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    threads: int,  # noqa: ARG001 (the signature of all runtimes; the caller sets torch's threads)
) -> Iterator[list[Run]]:
    """Yield the forward pass of each module, under the autocast of ``compute``."""
    with compute.autocast():
        yield [partial(call, module, example) for module, example in zip(modules, example_inputs, strict=True)]


@contextmanager
def open_compiled(
    modules: Sequence[nn.Module], example_inputs: Sequence[ExampleInput], compute: Compute, threads: int
) -> Iterator[list[Run]]:
    """Yield the forward pass of each compiled module; the first call of each compiles it.

    What torch compiled before is discarded, so that earlier shapes do not make it compile for dynamic ones.
    """
    torch.compiler.reset()
    compiled: list[Any] = [torch.compile(module) for module in modules]
    with open_eager(compiled, example_inputs, compute, threads) as runs:
        yield runs


def require_compiler() -> None:
    """Check that there is a C++ compiler, which ``torch.compile`` calls.

    Raises:
        ModelError: There is none.
    """
    names = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    if not any(shutil.which(name) for name in names):
        raise ModelError(
            f"runtime compiled: torch.compile needs a C++ compiler, found none of {', '.join(names)}. Install one, "
            "such as g++, or set the environment variable CXX to its path."
        )


def _write_program(program: ExportedProgram, path: Path, output: str) -> None:  # noqa: ARG001 (it has no names)
    torch.export.save(program, path)


def _load_program(path: Path, threads: int) -> Session:  # noqa: ARG001 (torch's threads are those of the process)
    program: Session = torch.export.load(path).module()
    return program


def _always_usable() -> None:
    pass


EAGER = RuntimeSupport(
    open_eager,
    _always_usable,
    packages=("torch",),
    file_format=FileFormat(ExportFormat.TORCH_EXPORT, ".pt2", _write_program, _load_program, is_trusted=False),
)
COMPILED = RuntimeSupport(open_compiled, require_compiler, packages=("torch",), times_layers=False)
