"""Several passes timed in turn, with their spread and the ratios within each round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dsft.process_memory import default_memory

Run = Callable[[], object]
"""One forward pass."""

ROUNDS = (7, 200)
"""Fewest and most rounds of a comparison."""


@dataclass(frozen=True)
class Spread:
    """The middle of some measurements: the median, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least two measurements."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Timing:
    """One of several passes that were timed in turn.

    Attributes:
        milliseconds: Of one pass.
        ratio: To the first pass of the same round, so that what slows both does not count.
        rounds: How often each was timed.
    """

    milliseconds: Spread
    ratio: Spread
    rounds: int


def time_in_turn(runs: Sequence[Run], device: torch.device, *, threads: int, seconds: float) -> tuple[Timing, ...]:
    """Time several passes in turn.

    Three untimed passes of each go first: they choose algorithms, compile and fill caches. Then a round is one timed
    pass of each, after an untimed one that finds its weights in the cache. With one thread on the CPU the time is
    what the thread was given, so that other processes of a busy machine do not count: a pass longer than a time slice
    of the scheduler waits for them in its midst, a shorter one mostly does not, and the ratio of the two would be
    wrong. Otherwise it is that of the clock on the wall.

    Args:
        runs: What is timed; the first is what the others are compared with.
        device: Where they run.
        threads: How many of torch's threads they use.
        seconds: About how long the comparison lasts, which bounds the number of its rounds.
    """
    clock = time.thread_time if device.type == "cpu" and threads == 1 and _HAS_THREAD_CLOCK else time.perf_counter
    with default_memory():
        for _ in range(2):
            warm = [_timed(run, device, clock) for run in runs]
        rounds = min(max(round(seconds / (2 * sum(warm) or 1e-6)), ROUNDS[0]), ROUNDS[1])
        times = [[_timed(run, device, clock) for run in runs] for _ in range(rounds)]
    return tuple(
        Timing(
            Spread.of([1000 * each for each in column]),
            Spread.of([each / (row[0] or 1e-9) for each, row in zip(column, times, strict=True)]),
            rounds,
        )
        for column in zip(*times, strict=True)
    )


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads for one operation, and as many as before at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(run: Run, device: torch.device, clock: Callable[[], float]) -> float:
    run()
    _wait_for(device)
    started = clock()
    run()
    _wait_for(device)
    return clock() - started


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


# That of Windows moves in steps of 16 ms.
_HAS_THREAD_CLOCK = time.get_clock_info("thread_time").resolution < 1e-6
