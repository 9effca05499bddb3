from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dsft.errors import TrainingError
from dsft.progress import Advanced, Event, Finished, Started, ignore
from dsft.training import RangeTest, TrainingSetup, run_range_test
from dsft.training.range_test import suggest_rate
from tests.training.pieces import (
    CPU,
    Batches,
    constant_rate,
    ema_settings,
    freeze_phase,
    make_batches,
    make_net,
    tensors_of,
)

RATES = [1e-7 * 10 ** (step / 12) for step in range(100)]


@pytest.mark.parametrize("knee", [1e-5, 1e-3, 1e-1])
def test_the_suggestion_is_where_the_loss_falls_fastest(knee: float) -> None:
    falls = 2 - 1.5 / (1 + (knee / np.array(RATES)) ** 2)
    blows_up = np.array(RATES) / (knee * 300)
    suggestion = suggest_rate(RATES, list(falls + blows_up))
    assert suggestion is not None
    assert knee / 1.5 < suggestion < knee * 1.5


def test_a_loss_that_does_not_fall_suggests_nothing() -> None:
    assert suggest_rate(RATES, [2 + 0.01 * step for step in range(100)]) is None
    assert suggest_rate(RATES, [2 - 0.0001 * step for step in range(100)]) is None
    # Of noise it may fall most at the first rate, of which nothing follows.
    assert suggest_rate(RATES, [2 + 1.5**-step for step in range(30)]) is None


def run(high: float, steps: int = 40, *, grad_accum: int = 1, events: list[Event] | None = None) -> RangeTest:
    settings = replace(constant_rate(1), grad_accum=grad_accum, freeze=(freeze_phase("9ep", ("head",)),))
    settings = replace(settings, ema=ema_settings(0.5))
    report = events.append if events is not None else ignore
    head = ("7.weight", "7.bias")
    net, loader = make_net(), Batches(make_batches(3))
    return run_range_test(
        TrainingSetup(net, settings, CPU, head=head), loader, low=1e-4, high=high, steps=steps, report=report
    )


def test_rates_rise_by_the_same_factor_and_data_is_gone_through_again() -> None:
    events: list[Event] = []
    test = run(1e-2, events=events)
    assert np.diff(np.log(test.rates)) == pytest.approx(math.log(100) / 39)
    assert test.rates[0] == 1e-4
    assert test.rates[-1] == pytest.approx(1e-2)
    assert len(test.losses) == len(test.smoothed) == 40
    assert not test.diverged
    shown = [event.values["lr"] for event in events if isinstance(event, Advanced)]
    assert shown == list(test.rates)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)


def test_everything_trains_and_the_first_loss_is_that_of_the_network() -> None:
    net, before = make_net(), tensors_of(make_net())
    settings = replace(constant_rate(1), freeze=(freeze_phase("9ep", ("7.weight",)),))
    loader = Batches(make_batches(3))
    test = run_range_test(TrainingSetup(net, settings, CPU), loader, low=1e-3, high=1e-1, steps=10)
    assert not any((tensor == before[name]).all() for name, tensor in tensors_of(net).items())
    again = run_range_test(TrainingSetup(make_net(), settings, CPU), loader, low=1e-3, high=1e-1, steps=10)
    assert again == test
    assert run(1e-2).losses[0] == pytest.approx(test.losses[0])


def test_batches_are_summed_up_as_in_training() -> None:
    assert len(run(1e-2, steps=20, grad_accum=2).losses) == 20


def test_it_ends_when_the_loss_blows_up() -> None:
    test = run(1e9, steps=200)
    assert test.diverged
    assert 10 < len(test.losses) < 200
    assert all(map(math.isfinite, test.losses))
    assert test.lowest < 100


def test_without_batches_it_says_so() -> None:
    with pytest.raises(TrainingError, match="the train split gives no batch"):
        run_range_test(TrainingSetup(make_net(), constant_rate(1), CPU), Batches([]), low=1e-4, high=1, steps=10)
