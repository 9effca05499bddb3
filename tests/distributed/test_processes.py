from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
from torch import nn

from dsft.distributed.processes import ALONE, LostProcessError, Processes
from tests.distributed.siblings import run_together


def test_one_process_hears_itself() -> None:
    rows, module = torch.ones(2, 3), nn.Linear(2, 2)
    before = module.weight.clone()
    assert (ALONE.rank, ALONE.count, ALONE.is_first) == (0, 1, True)
    assert ALONE.gather("a") == ["a"]
    assert ALONE.gather_numbers([1, 2]) == [[1, 2]]
    assert ALONE.gather_rows(rows) is rows
    assert ALONE.broadcast(7) == ALONE.from_first(lambda: 7) == 7
    ALONE.broadcast_module(module)
    ALONE.all_reduce([module.weight.data])
    ALONE.barrier()
    with ALONE.local_first():
        assert torch.equal(module.weight, before)


def talk(processes: Processes) -> dict[str, Any]:
    rank = processes.rank
    mixed = [
        torch.full((2, 3), rank + 0.5),
        torch.tensor(rank + 1),
        torch.full((2,), rank + 1.0, dtype=torch.bfloat16),
        torch.full((1, 2, 2, 2), rank + 0.25).to(memory_format=torch.channels_last),
    ]
    processes.all_reduce(mixed)
    told = [torch.tensor([rank == 0, False]), torch.tensor(rank), torch.full((3,), rank + 0.1), torch.empty(0)]
    processes.broadcast_tensors(told)
    kernels = nn.Conv2d(1, 2, 2)
    with torch.no_grad():
        kernels.weight.fill_(rank)
    if rank:
        kernels.to(memory_format=torch.channels_last)
    processes.broadcast_module(kernels)
    with processes.local_first():
        began = time.monotonic()
        time.sleep(0.05)
        turn = (began, time.monotonic())
    return {
        "sums": [tensor.tolist() for tensor in mixed],
        "told": [tensor.tolist() for tensor in told],
        "kernels": kernels.weight.sum().item(),
        "gathered": processes.gather(("x", rank)),
        "numbers": processes.gather_numbers([rank, 2 * rank]),
        "rows": [
            found.tolist() if found is not None else None
            for found in (
                processes.gather_rows(torch.full((rank + 1, 2), rank)),
                processes.gather_rows(torch.tensor([1.5]) if rank else None),
                processes.gather_rows(None),
            )
        ],
        "first": processes.from_first(lambda: rank + 7),
        "turn": turn,
    }


def test_several_processes_hear_each_other() -> None:
    first, second = run_together(talk)
    assert first.pop("turn")[1] <= second.pop("turn")[0]
    assert first == second
    assert first["sums"] == [[[2.0] * 3] * 2, 3, [3.0, 3.0], [[[[1.5] * 2] * 2] * 2]]
    assert first["told"] == [[True, False], 0, [pytest.approx(0.1)] * 3, []]
    assert first["kernels"] == 0
    assert first["gathered"] == [("x", 0), ("x", 1)]
    assert first["numbers"] == [[0, 0], [1, 2]]
    assert first["rows"] == [[[0, 0], [1, 1], [1, 1]], [1.5], None]
    assert first["first"] == 7


def lose(processes: Processes) -> str:
    if processes.rank:
        os._exit(0)
    with pytest.raises(
        LostProcessError,
        match=r"another process of this run has ended, .* Continue from the last checkpoint with --resume",
    ) as lost:
        processes.gather_numbers([1])
    return str(lost.value)


def test_a_process_that_is_gone_is_missed() -> None:
    message, nothing = run_together(lose)
    assert "torch says: " in message
    assert nothing is None
