from __future__ import annotations

from collections.abc import Callable

import pytest

from dsft.choices import Cost
from dsft.conversion.planning.accuracy_search import RESOLUTION, Trial, meet_max_drop
from dsft.conversion.request import MaxDrop, Request
from dsft.errors import BudgetError, ConversionError
from dsft.progress import Event, Note, ignore

SMALLEST = 0.2


def convert(request: Request) -> float:
    """Stand for a conversion: what comes out is the share that was asked for."""
    assert request.cost_budget is not None
    assert request.max_drop is None
    if request.cost_budget.share < SMALLEST:
        raise BudgetError("cannot be met", SMALLEST)
    return request.cost_budget.share


def search(points: float, score: Callable[[float], float]) -> tuple[float, tuple[Trial, ...]]:
    drop = MaxDrop(points, Cost.PARAMS)
    return meet_max_drop(Request(budget=drop), drop, convert, score, score(1.0), ignore)


@pytest.mark.parametrize("points", [0.0, 0.5, 3.0, 20.0, 60.0, 100.0])
def test_the_smallest_share_that_keeps_the_score_is_found(points: float) -> None:
    def score(share: float) -> float:
        return 90.0 - 100 * max(0.8 - share, 0.0)

    found, trials = search(points, score)
    smallest = max(SMALLEST, 0.8 - points / 100)
    assert smallest - 1e-9 <= found <= smallest + RESOLUTION
    assert 90.0 - score(found) <= points
    assert found == min(trial.share for trial in trials if trial.drop <= points)
    assert len(trials) <= 8
    assert search(points, score) == (found, trials)
    for trial in trials:
        assert trial == Trial(trial.share, score(trial.share), 90.0 - score(trial.share))


def test_the_smallest_that_can_be_met_is_tried_first_and_may_be_all() -> None:
    assert search(1.0, lambda _: 70.0) == (SMALLEST, (Trial(SMALLEST, 70.0, 0.0),))


def test_a_score_that_rises_is_no_loss() -> None:
    found, trials = search(0.0, lambda share: 80.0 - share)
    assert found == SMALLEST
    assert trials[0].drop == pytest.approx(SMALLEST - 1.0)


def test_each_candidate_is_shown_with_its_score() -> None:
    events: list[Event] = []
    drop = MaxDrop(10)
    _, trials = meet_max_drop(Request(budget=drop), drop, convert, lambda share: 100 * share, 100.0, events.append)
    notes = [event.message for event in events if isinstance(event, Note)]
    assert len(notes) == len(trials)
    assert notes[0] == "budget macs=0.2: score 20.00, 80.00 points lost (too much)"
    assert notes[-1].endswith(("(kept)", "(too much)"))


def test_what_cannot_be_met_the_second_time_is_passed_over() -> None:
    """A share that was measured once is measured again, and comes out a little larger."""
    events: list[Event] = []

    def measured(request: Request) -> float:
        assert request.cost_budget is not None
        if request.cost_budget.share < SMALLEST:
            raise BudgetError("cannot be met", SMALLEST)
        if request.cost_budget.share < SMALLEST + 0.003:
            raise BudgetError("cannot be met", SMALLEST + 0.01)
        return request.cost_budget.share

    drop = MaxDrop(1.0, Cost.LATENCY)
    found, trials = meet_max_drop(Request(budget=drop), drop, measured, lambda _: 70.0, 70.0, events.append)
    assert SMALLEST < found <= SMALLEST + 2 * RESOLUTION
    assert found == trials[-1].share
    notes = [event.message for event in events if isinstance(event, Note)]
    assert notes[0] == "budget latency=0.2: cannot be met, 0.21 can"


def test_a_network_that_becomes_no_cheaper_says_so() -> None:
    def slower(_: Request) -> float:
        raise BudgetError("cannot be met", 1.02)

    drop = MaxDrop(1.0, Cost.LATENCY)
    with pytest.raises(ConversionError, match=r"max_drop=1: cannot be met: nothing .* costs less latency than it does"):
        meet_max_drop(Request(budget=drop), drop, slower, lambda _: 70.0, 70.0, ignore)


def test_none_that_keeps_the_score_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConversionError, match=r"max_drop=1: cannot be met: of \d+ budgets of params .* loses 7\.0"):
        search(1.0, lambda share: 50.0 if share == 1.0 else 43.0)


@pytest.mark.parametrize("bad", [1.0, SMALLEST])
def test_a_score_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(ConversionError, match=f"score: a finite number is needed, found nan at a share of {bad:g}"):
        search(1.0, lambda share: float("nan") if share == bad else 1.0)
