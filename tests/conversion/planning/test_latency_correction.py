from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from dsft.conversion.plan import ConversionPlan
from dsft.conversion.planning.latency_correction import ROUNDS, fit_latency
from dsft.errors import ConversionError
from dsft.progress import Event, Note


def fit(truth: Callable[[float], float], share: float, least: float = 0.1) -> tuple[float, list[float], list[Event]]:
    """Fit where a plan is the share that it was planned for, and takes what ``truth`` says."""
    heard: list[Event] = []
    planned: list[float] = []

    def plan_at(wanted: float) -> ConversionPlan:
        assert wanted >= least
        planned.append(wanted)
        return cast("ConversionPlan", wanted)

    measure = cast("Callable[[ConversionPlan], float]", truth)
    chosen: Any = fit_latency(plan_at, measure, share, least, heard.append)
    return chosen, planned, heard


@pytest.mark.parametrize(
    "truth",
    [
        lambda planned: planned,
        lambda planned: 0.2 + 0.8 * planned,
        lambda planned: 1.4 * planned,
        lambda planned: 0.5 * planned,
        lambda planned: planned**2,
        lambda planned: 0.45 if planned < 0.47 else 0.9,
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_what_is_chosen_fits_and_wastes_little(truth: Callable[[float], float], share: float) -> None:
    chosen, planned, heard = fit(truth, share)
    assert truth(chosen) <= share
    # Nothing that was tried and fits leaves more of the network as it is.
    assert chosen == max(each for each in planned if truth(each) <= share)
    assert len(planned) <= ROUNDS + 1
    assert all(isinstance(event, Note) and "measured" in event.message for event in heard)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_wrong_sum_is_corrected_until_the_share_is_nearly_used(share: float) -> None:
    chosen, _, _ = fit(lambda planned: 0.15 + 0.85 * planned, share, least=0.05)
    assert 0.97 * share <= 0.15 + 0.85 * chosen <= share


def test_the_cheapest_plan_is_tried_before_giving_up() -> None:
    chosen, _, _ = fit(lambda planned: 0.5 if planned <= 0.1 else 0.9, 0.5)
    assert chosen == 0.1


def test_less_than_can_be_planned_for_is_fitted_from_the_least() -> None:
    chosen, planned, _ = fit(lambda planned: 0.5 * planned, 0.08, least=0.1)
    assert planned[0] == 0.1
    assert 0.5 * chosen <= 0.08


def test_what_cannot_be_met_names_the_smallest_that_was_measured() -> None:
    with pytest.raises(ConversionError, match=r"latency=0.2: cannot be met: the smallest share .* is 0.42\."):
        fit(lambda planned: 0.4101 + 0.0 * planned, 0.2)
