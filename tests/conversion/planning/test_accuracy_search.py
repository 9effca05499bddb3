from __future__ import annotations

from collections.abc import Callable

import pytest

from dsft.choices import Cost
from dsft.conversion.budget import MaxDrop
from dsft.conversion.planning.accuracy_search import RESOLUTION, Search, Trial, find_cheapest
from dsft.errors import BudgetError, ConversionError
from dsft.progress import Event, Note, Report, ignore

SMALLEST = 0.2


def search(points: float, score: Callable[[float], float], report: Report = ignore) -> tuple[float, tuple[Trial, ...]]:
    """Search where the result of a conversion is the share that it was made for."""
    found = Search(lambda share: share, score, score(1.0), SMALLEST)
    return find_cheapest(MaxDrop(points, Cost.PARAMS), found, report)


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
    _, trials = search(10, lambda share: 100 * share, events.append)
    notes = [event.message for event in events if isinstance(event, Note)]
    assert len(notes) == len(trials)
    assert notes[0] == "budget params=0.2: score 20.00, 80.00 points lost (too much)"
    assert notes[-1].endswith(("(kept)", "(too much)"))


def test_what_cannot_be_met_the_second_time_is_passed_over() -> None:
    """A share that was measured once is measured again, and comes out a little larger."""
    events: list[Event] = []

    def measured(share: float) -> float:
        if share < SMALLEST + 0.003:
            raise BudgetError("cannot be met", SMALLEST + 0.01)
        return share

    found, trials = find_cheapest(
        MaxDrop(1.0, Cost.LATENCY), Search(measured, lambda _: 70.0, 70.0, SMALLEST), events.append
    )
    assert SMALLEST < found <= SMALLEST + 2 * RESOLUTION
    assert found == trials[-1].share
    notes = [event.message for event in events if isinstance(event, Note)]
    assert notes[0] == "budget latency=0.2: cannot be met, 0.21 can"


def test_a_network_that_becomes_no_cheaper_says_so() -> None:
    def slower(_: float) -> float:
        raise BudgetError("cannot be met", 1.02)

    with pytest.raises(ConversionError, match=r"max_drop=1: cannot be met: no conversion .* costs less latency than"):
        find_cheapest(MaxDrop(1.0, Cost.LATENCY), Search(slower, lambda _: 70.0, 70.0, 1.0))


def test_none_that_keeps_the_score_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConversionError, match=r"max_drop=1: cannot be met: of \d+ budgets of params .* loses 7\.0"):
        search(1.0, lambda share: 50.0 if share == 1.0 else 43.0)


@pytest.mark.parametrize("bad", [1.0, SMALLEST])
def test_a_score_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(ConversionError, match=f"score: a finite number is needed, found nan at a share of {bad:g}"):
        search(1.0, lambda share: float("nan") if share == bad else 1.0)
