"""Time, measured so that a comparison holds on a busy machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsft.devices import Compute
from dsft.measure.example import ExampleInput, batch_size_of, call, evaluation_mode

SECONDS = 1.0
"""Default length of one comparison, which bounds the number of its rounds."""

ROUNDS = (5, 100)
"""Fewest and most rounds of a comparison."""


@dataclass(frozen=True)
class MeasuredOn:
    """The circumstances without which a time means nothing."""

    device: str
    threads: int
    batch: int
    dtype: str
    layout: str
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """Return the circumstances as JSON values."""
        return dict(vars(self))

    def sentence(self) -> str:
        """Say them in one sentence."""
        return (
            f"Latency: {self.device}, {self.threads} thread, batch {self.batch}, {self.dtype}, {self.layout}, "
            f"{self.runtime}; median of runs in turn."
        )


def measured_on(module: nn.Module, example_input: ExampleInput, compute: Compute) -> MeasuredOn:
    """Describe what :func:`compare_latency` measures a module on."""
    on_gpu = compute.device.type == "cuda"
    weight = next((parameter for parameter in module.parameters() if parameter.dim() == 4), None)
    is_last = weight is not None and weight.is_contiguous(memory_format=torch.channels_last)
    return MeasuredOn(
        device=torch.cuda.get_device_name(compute.device) if on_gpu else _processor(),
        threads=1,
        batch=batch_size_of(example_input),
        dtype=str(compute.amp_dtype or (torch.float32 if weight is None else weight.dtype)).removeprefix("torch."),
        layout="channels_last" if is_last else "contiguous",
        runtime="eager",
    )


def compare_latency(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    seconds: float = SECONDS,
) -> tuple[float, ...]:
    """Time forward passes of several modules in turn, with one thread.

    One timed pass of each makes a round, so that a slower or faster moment of the machine meets all alike;
    the median over the rounds leaves out what other processes disturbed. An untimed pass goes before each
    timed one: a network that is served alone finds its weights in the cache, not those of another.

    Args:
        modules: What is compared.
        example_inputs: The input of each, on the device.
        compute: The device and the number format.
        seconds: About how long the comparison lasts.

    Returns:
        The median time of each module's pass, in milliseconds.
    """
    runs = [
        lambda module=module, example=example: call(module, example)
        for module, example in zip(modules, example_inputs, strict=True)
    ]
    with _one_thread(), torch.no_grad(), compute.autocast(), evaluation_mode(nn.ModuleList(modules)):
        # The first pass of all chooses algorithms and loads libraries; the second tells how long a round is.
        _, each = [[_timed(run, compute.device) for run in runs] for _ in range(2)]
        rounds = min(max(round(seconds / (2 * sum(each) or 1e-6)), ROUNDS[0]), ROUNDS[1])
        times = [[_timed(run, compute.device) for run in runs] for _ in range(rounds)]
    return tuple(1000 * statistics.median(column) for column in zip(*times, strict=True))


def _timed(run: Callable[[], object], device: torch.device) -> float:
    run()
    _wait_for(device)
    started = time.perf_counter()
    run()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _processor() -> str:
    """Return the processor's marketing name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
