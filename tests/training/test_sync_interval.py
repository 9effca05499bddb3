from __future__ import annotations

from dsft.training.sync_interval import MAX_STEPS, SYNC_SECONDS, SyncInterval


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(interval: SyncInterval, clock: Clock, seconds: float, steps: int) -> list[int]:
    """Return the steps after which there is a synchronization, if each step takes so long."""
    found = []
    for step in range(1, steps + 1):
        clock.now += seconds
        if interval.is_due(step):
            found.append(step)
            interval.restart(step, interval.propose(step))
    return found


def test_the_first_step_is_followed_by_one_and_then_as_many_as_fit_the_time() -> None:
    clock = Clock()
    assert run(SyncInterval(is_every_step=False, clock=clock), clock, SYNC_SECONDS / 4.5, 14) == [1, 5, 9, 13]


def test_slow_steps_are_followed_by_one_each() -> None:
    clock = Clock()
    assert run(SyncInterval(is_every_step=False, clock=clock), clock, 3 * SYNC_SECONDS, 3) == [1, 2, 3]


def test_the_number_of_steps_is_limited() -> None:
    clock = Clock()
    interval = SyncInterval(is_every_step=False, clock=clock)
    assert run(interval, clock, 1e-6, MAX_STEPS + 2) == [1, MAX_STEPS + 1]


def test_every_step_may_be_followed_by_one() -> None:
    clock = Clock()
    assert run(SyncInterval(is_every_step=True, clock=clock), clock, 1e-6, 3) == [1, 2, 3]


def test_time_before_the_start_does_not_count() -> None:
    clock = Clock()
    interval = SyncInterval(is_every_step=False, clock=clock)
    run(interval, clock, SYNC_SECONDS / 4.5, 1)
    # A validation.
    clock.now += 100
    interval.start(1)
    assert not interval.is_due(4)
    clock.now += 4 * SYNC_SECONDS / 4.5
    assert interval.is_due(5)
    assert interval.propose(5) == 4
