from __future__ import annotations

import pytest
import torch

from dsft.runtimes.interleaved_timing import ROUNDS, Spread, fixed_threads, time_interleaved

CPU = torch.device("cpu")


def test_twice_the_work_takes_twice_the_time() -> None:
    matrix = torch.randn(160, 160)

    def once() -> None:
        for _ in range(20):
            matrix @ matrix

    def twice() -> None:
        once()
        once()

    first, second = time_interleaved([once, twice], CPU, threads=1, seconds=0.3)
    assert first.ratio == Spread(1.0, 1.0, 1.0)
    assert second.ratio.median == pytest.approx(2, rel=0.25)
    assert second.ratio.low <= second.ratio.median <= second.ratio.high
    assert second.milliseconds.median > first.milliseconds.median
    assert first.rounds == second.rounds >= ROUNDS[0]


def test_quartiles_are_numpys() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0]) == Spread(2.5, 1.75, 3.25)


def test_each_pass_is_warm_and_as_often_as_the_others() -> None:
    calls: list[int] = []
    time_interleaved([lambda: calls.append(0), lambda: calls.append(1)], CPU, threads=2, seconds=0.001)
    assert calls.count(0) == calls.count(1)
    assert calls[:4] == [0, 0, 1, 1]


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with fixed_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
