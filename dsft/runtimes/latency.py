"""Time, measured so that a comparison holds on a busy machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.measure.example import ExampleInput, batch_size_of
from dsft.runtimes.interleaved_timing import Run, time_in_turn
from dsft.runtimes.registry import open_runs

SECONDS = 1.0
"""Default length of one comparison, which bounds the number of its rounds."""


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


def measured_on(
    module: nn.Module, example_input: ExampleInput, compute: Compute, runtime: Runtime = Runtime.EAGER
) -> MeasuredOn:
    """Describe what :func:`compare_latency` measures a module on."""
    weight = next((parameter for parameter in module.parameters() if parameter.dim() == 4), None)
    # ONNX Runtime is given contiguous images in the network's own format, and lays its kernels out as it likes.
    is_eager = runtime is Runtime.EAGER
    is_last = is_eager and weight is not None and weight.is_contiguous(memory_format=torch.channels_last)
    amp = compute.amp_dtype if is_eager else None
    return MeasuredOn(
        device=device_name(compute.device),
        threads=1,
        batch=batch_size_of(example_input),
        dtype=str(amp or (torch.float32 if weight is None else weight.dtype)).removeprefix("torch."),
        layout="channels_last" if is_last else "contiguous",
        runtime=str(runtime),
    )


def compare_latency(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    seconds: float = SECONDS,
    runtime: Runtime = Runtime.EAGER,
) -> tuple[float, ...]:
    """Time forward passes of several modules in turn, with one thread.

    Args:
        modules: What is compared.
        example_inputs: The input of each, on the device.
        compute: The device and the number format.
        seconds: About how long the comparison lasts.
        runtime: What runs them.

    Returns:
        The median time of each module's pass, in milliseconds.

    Raises:
        ModelError: The runtime is not installed, or cannot run the modules.
    """
    with open_runs(modules, example_inputs, compute, runtime) as runs:
        return compare_runs(runs, compute.device, seconds)


def compare_runs(runs: Sequence[Run], device: torch.device, seconds: float = SECONDS) -> tuple[float, ...]:
    """Time several passes in turn, with one thread; see :func:`dsft.runtimes.interleaved_timing.time_in_turn`.

    The median over the rounds leaves out what other processes disturbed.

    Args:
        runs: What is compared.
        device: Where it runs.
        seconds: About how long the comparison lasts, which bounds the number of its rounds.

    Returns:
        The median time of each, in milliseconds.
    """
    timings = time_in_turn(runs, device, threads=1, seconds=seconds)
    return tuple(timing.milliseconds.median for timing in timings)


def device_name(device: torch.device) -> str:
    """Return the marketing name of a device, where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
