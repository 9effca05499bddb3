from __future__ import annotations

import torch
from torch import nn

from dsft.devices import Compute
from dsft.runtimes import measure_footprints


def test_networks_are_measured_side_by_side() -> None:
    small = nn.Sequential(nn.Conv2d(3, 4, 3))
    large = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3))
    image = torch.zeros(1, 3, 32, 32)
    first, second = measure_footprints([small, large], [image, image], Compute(torch.device("cpu")))
    assert first.params == 4 * 3 * 9 + 4
    assert first.macs == 30 * 30 * 4 * 27
    assert first.memory_bytes == 4 * (first.params + 3 * 32 * 32 + 4 * 30 * 30)
    assert first.throughput_batch == second.throughput_batch == 8
    assert second.latency_ms is not None
    assert first.latency_ms is not None
    assert second.latency_ms > first.latency_ms > 0
    assert first.throughput is not None
    assert second.throughput is not None
    assert first.throughput > second.throughput > 0


def test_what_is_not_timed_has_no_times() -> None:
    (found,) = measure_footprints(
        [nn.Conv2d(3, 4, 3)], [torch.zeros(1, 3, 8, 8)], Compute(torch.device("cpu")), timed=False
    )
    assert (found.latency_ms, found.throughput, found.macs) == (None, None, 6 * 6 * 4 * 27)
