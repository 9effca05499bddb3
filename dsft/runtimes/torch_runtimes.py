"""Modules run by torch: eager, or compiled by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from dsft.devices import Compute
from dsft.measure.example import ExampleInput, call
from dsft.runtimes.interleaved_timing import Run


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
