"""Interleaved timing of several forward passes: medians, quartiles and the ratios within each round."""

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
"""Minimum and maximum number of rounds of a comparison."""


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, and the quartiles below and above it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize at least two measurements."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Timing:
    """The times of one of several passes that were timed together.

    Attributes:
        milliseconds: Time of one pass.
        ratio: Time relative to that of the first pass in the same round, which cancels what slows both.
        rounds: How often each pass was timed.
    """

    milliseconds: Spread
    ratio: Spread
    rounds: int


def time_interleaved(runs: Sequence[Run], device: torch.device, *, threads: int, seconds: float) -> tuple[Timing, ...]:
    """Time several passes in rounds, each of which runs every pass.

    Three untimed calls of each pass come first: they select algorithms, compile and fill caches. In a round, each pass
    is called twice and the second call is timed, so that its weights are in the cache. With one thread on the CPU the
    thread's CPU time is measured, so that other processes of a busy machine do not count: a pass longer than a time
    slice of the scheduler waits for them, a shorter one mostly does not, which would distort the ratio of the two.
    Otherwise wall-clock time is measured.

    Args:
        runs: The passes; the first is the reference of the ratios.
        device: Where they run.
        threads: How many of torch's threads they use.
        seconds: Approximate length of the comparison, which determines the number of rounds.
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
    """Set the number of threads that torch uses within an operation, and restore it at the end."""
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


# The resolution on Windows is 16 ms.
_HAS_THREAD_CLOCK = time.get_clock_info("thread_time").resolution < 1e-6
