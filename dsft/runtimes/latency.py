"""Latency of modules, compared in a way that is robust on a busy machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsft.choices import InputKind, Runtime
from dsft.devices import Compute
from dsft.measure.example import ExampleInput, batch_size_of
from dsft.number_format import plural
from dsft.runtimes.interleaved_timing import Run, time_interleaved
from dsft.runtimes.registry import RUNTIMES, open_runs
from dsft.runtimes.runtime import dtype_name

SECONDS = 1.0
"""Default length of one comparison, which determines the number of rounds."""


@dataclass(frozen=True)
class MeasuredOn:
    """The conditions of a latency measurement."""

    device: str
    threads: int
    batch: int
    dtype: str
    layout: str
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions as JSON values."""
        return dict(vars(self))

    def sentence(self) -> str:
        """Return the conditions as one sentence."""
        return (
            f"Latency: {self.device}, {plural(self.threads, 'thread')}, batch {self.batch}, {self.dtype}, "
            f"{self.layout}, {self.runtime}; median of interleaved runs."
        )

    def footprint_sentences(self, kind: InputKind, throughput_batch: int | None) -> str:
        """Return how the figures of a :class:`dsft.runtimes.Footprint` were measured.

        Args:
            kind: What the network takes.
            throughput_batch: Inputs of a pass whose throughput was measured; None if no times were measured.
        """
        memory = f"Memory: peak bytes of live tensors in a forward pass of one {kind}, weights included."
        if throughput_batch is None:
            return memory
        return (
            f"{self.sentence()} {kind.plural.capitalize()} a second: the same with batch {throughput_batch}. {memory}"
        )


def measured_on(
    module: nn.Module,
    example_input: ExampleInput,
    compute: Compute,
    runtime: Runtime = Runtime.EAGER,
    threads: int = 1,
) -> MeasuredOn:
    """Return the conditions under which :func:`compare_latency` measures a module."""
    weight = next((parameter for parameter in module.parameters() if parameter.dim() == 4), None)
    uses_compute = RUNTIMES[runtime].uses_compute
    is_last = uses_compute and weight is not None and weight.is_contiguous(memory_format=torch.channels_last)
    amp = compute.amp_dtype if uses_compute else None
    return MeasuredOn(
        device=device_name(compute.device),
        threads=threads,
        batch=batch_size_of(example_input),
        dtype=dtype_name(amp or (torch.float32 if weight is None else weight.dtype)),
        layout="channels_last" if is_last else "contiguous",
        runtime=str(runtime),
    )


def compare_latency(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    seconds: float = SECONDS,
    runtime: Runtime = Runtime.EAGER,
    threads: int = 1,
) -> tuple[float, ...]:
    """Time forward passes of several modules, interleaved.

    Args:
        modules: The modules, on the device.
        example_inputs: The input of each, on the device.
        compute: The device and the number format.
        seconds: Approximate length of the comparison.
        runtime: What runs the modules.
        threads: Number of threads per operator.

    Returns:
        The median time of each module's pass, in milliseconds.

    Raises:
        ModelError: The runtime is not installed, or cannot run the modules.
    """
    with open_runs(modules, example_inputs, compute, runtime, threads=threads) as runs:
        return median_times(runs, compute.device, seconds, threads)


def median_times(
    runs: Sequence[Run], device: torch.device, seconds: float = SECONDS, threads: int = 1
) -> tuple[float, ...]:
    """Time several passes with :func:`~dsft.runtimes.interleaved_timing.time_interleaved`.

    Args:
        runs: The forward passes.
        device: Where they run.
        seconds: Approximate length of the comparison, which determines the number of rounds.
        threads: Number of threads per operator.

    Returns:
        The median time of each pass over the rounds, in milliseconds.
    """
    timings = time_interleaved(runs, device, threads=threads, seconds=seconds)
    return tuple(timing.milliseconds.median for timing in timings)


def device_name(device: torch.device) -> str:
    """Return the marketing name of a device, or the architecture if the system does not provide it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
