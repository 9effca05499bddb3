"""All that a network costs to run, side by side with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dsft.devices import Compute
from dsft.measure.cost import count_macs, count_parameters
from dsft.measure.memory import peak_memory
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
        memory_bytes: Most bytes of tensors alive at once in a pass of one image, weights included.
        latency_ms: Time of a pass of one image, measured in turn with the other networks.
        throughput: Images a second in passes of ``throughput_batch`` images, measured likewise.
        throughput_batch: Images of such a pass.
    """

    params: int
    macs: int
    memory_bytes: int
    latency_ms: float
    throughput: float
    throughput_batch: int


def measure_footprints(modules: Sequence[nn.Module], images: Sequence[Tensor], compute: Compute) -> list[Footprint]:
    """Measure networks that take images, in turn and with one thread.

    Args:
        modules: The networks, on the device.
        images: One image ``(1, channels, height, width)`` for each, on the device.
        compute: The device, number format and layout.
    """
    size = THROUGHPUT_BATCHES.get(compute.device.type, _THROUGHPUT_BATCH)
    batches = [compute.place(image.repeat(size, 1, 1, 1)) for image in images]
    times = compare_latency(modules, images, compute)
    batch_times = compare_latency(modules, batches, compute)
    return [
        Footprint(
            params=count_parameters(module),
            macs=count_macs(module, image),
            memory_bytes=peak_memory(module, image),
            latency_ms=time,
            throughput=1000 * size / batch_time,
            throughput_batch=size,
        )
        for module, image, time, batch_time in zip(modules, images, times, batch_times, strict=True)
    ]
