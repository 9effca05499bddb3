"""All that a network costs to run, side by side with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.memory import peak_memory
from dsft.runtimes.exported_network import ExportedNetwork
from dsft.runtimes.latency import compare_latency

THROUGHPUT_BATCHES = {"cpu": 8}
"""Images of a pass whose throughput is measured, by type of device: as many as keep it busy."""

_THROUGHPUT_BATCH = 64  # of any other device


@dataclass(frozen=True)
class Footprint:
    """What a network costs to run.

    Attributes:
        params: Parameters.
        macs: Multiply-accumulates for one image.
        memory_bytes: Most bytes of tensors alive at once in a pass of one image, weights included; None for an
            exported file, whose runtime allocates them.
        latency_ms: Time of a pass of one image, measured interleaved with the other networks; None if not timed.
        throughput: Images per second in passes of ``throughput_batch`` images, measured likewise; None if not timed.
        throughput_batch: Images of such a pass.
    """

    params: int
    macs: int
    memory_bytes: int | None
    latency_ms: float | None
    throughput: float | None
    throughput_batch: int


def measure_footprints(
    modules: Sequence[nn.Module], images: Sequence[Tensor], compute: Compute, *, timed: bool = True
) -> list[Footprint]:
    """Measure networks that take images, interleaved and with one thread.

    Args:
        modules: The networks, on the device.
        images: One image ``(1, channels, height, width)`` for each, on the device.
        compute: The device, number format and layout.
        timed: Measure times as well, which takes seconds per network.
    """
    size = THROUGHPUT_BATCHES.get(compute.device.type, _THROUGHPUT_BATCH)
    times: Sequence[float | None] = [None] * len(modules)
    batch_times = times
    if timed:
        times = compare_latency(modules, images, compute)
        batches = [compute.place(torch.cat([image] * size)) for image in images]
        batch_times = compare_latency(modules, batches, compute)
    return [
        Footprint(
            *_count(module, image),
            latency_ms=time,
            throughput=None if batch_time is None else 1000 * size / batch_time,
            throughput_batch=size,
        )
        for module, image, time, batch_time in zip(modules, images, times, batch_times, strict=True)
    ]


def _count(module: nn.Module, image: Tensor) -> tuple[int, int, int | None]:
    """Return parameters, multiply-accumulates and bytes of memory."""
    if isinstance(module, ExportedNetwork):
        return module.params, module.macs, None
    return count_parameters(module), count_macs(module, image), peak_memory(module, image)
