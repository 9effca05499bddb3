from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.devices import Compute
from dsft.runtimes import compare_latency, measured_on

COMPUTE = Compute(torch.device("cpu"))


def test_more_work_takes_longer_and_nothing_is_left_changed() -> None:
    torch.set_num_threads(2)
    images = torch.randn(1, 32, 32, 32)
    small, large = (
        nn.Conv2d(32, 4, 3).train(),
        nn.Sequential(*(nn.Conv2d(32, 32, 3, padding=1) for _ in range(8))),
    )
    fast, slow = compare_latency([small, large], [images, images], COMPUTE, seconds=0.2)
    assert 0 < fast < slow
    assert torch.get_num_threads() == 2
    assert small.training


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_circumstances_are_those_of_the_module(layout: torch.memory_format) -> None:
    module = nn.Conv2d(4, 4, 3).to(torch.bfloat16).to(memory_format=layout)
    where = measured_on(module, torch.randn(3, 4, 8, 8), COMPUTE).to_dict()
    assert where["device"]
    assert {**where, "device": ""} == {
        "device": "",
        "threads": 1,
        "batch": 3,
        "dtype": "bfloat16",
        "layout": "channels_last" if layout is torch.channels_last else "contiguous",
        "runtime": "eager",
    }
