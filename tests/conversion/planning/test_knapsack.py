from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]

from dsft.conversion.planning.knapsack import Alternative, Choice, LayerOptions, solve_knapsack


def alternative(errors: Sequence[float], costs: Sequence[float], first: int = 1) -> Alternative:
    return Alternative(np.arange(first, first + len(errors)), np.array(errors), np.array(costs, dtype=np.float64))


def ranks(gains: Sequence[float], rank_cost: float, least: int = 1) -> Alternative:
    """Return an alternative whose cost is linear in the rank."""
    left = [sum(gains[rank:]) for rank in range(least, len(gains) + 1)]
    return alternative(left, [rank * rank_cost for rank in range(least, len(gains) + 1)], least)


@st.composite
def alternatives(draw: st.DrawFn) -> Alternative:
    """Draw any errors and costs: neither monotone, nor convex."""
    count = draw(st.integers(1, 4))
    errors = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    costs = draw(st.lists(st.integers(1, 25), min_size=count, max_size=count))
    return alternative(errors, costs, draw(st.integers(1, 3)))


@st.composite
def layers(draw: st.DrawFn) -> LayerOptions:
    return LayerOptions(draw(st.integers(1, 20)), tuple(draw(st.lists(alternatives(), min_size=0, max_size=2))))


def choices_of(options: LayerOptions) -> dict[Choice, tuple[float, float]]:
    """Return the cost and the error of everything that a layer may become."""
    found = {Choice(0, 0): (options.dense_cost, 0.0)}
    for place, each in enumerate(options.alternatives):
        for step, error, cost in zip(each.steps.tolist(), each.errors, each.costs, strict=True):
            found[Choice(place, step)] = (float(cost), float(error))
    return found


def cost_and_error(chosen: Sequence[LayerOptions], choices: Sequence[Choice]) -> tuple[float, float]:
    pairs = [choices_of(options)[choice] for options, choice in zip(chosen, choices, strict=True)]
    return sum(cost for cost, _ in pairs), sum(error for _, error in pairs)


def limit_at(chosen: Sequence[LayerOptions], share: float) -> float:
    least = sum(options.least_cost for options in chosen)
    return least + share * (sum(options.dense_cost for options in chosen) - least)


@settings(max_examples=300, deadline=None)
@given(chosen=st.lists(layers(), min_size=1, max_size=3), share=st.floats(0, 1))
def test_keeps_the_limit_and_comes_within_one_step_of_the_best(chosen: list[LayerOptions], share: float) -> None:
    limit = limit_at(chosen, share)
    choices = solve_knapsack(chosen, limit)
    cost, error = cost_and_error(chosen, choices)
    assert cost <= limit
    every = [list(choices_of(options).values()) for options in chosen]
    totals = [tuple(map(sum, zip(*each, strict=True))) for each in itertools.product(*every)]
    best = min(e for c, e in totals if c <= limit)
    widest = max(max(e for _, e in each) for each in every)
    assert best - 1e-12 <= error <= best + widest + 1e-12
    for options, choice in zip(chosen, choices, strict=True):
        own = choices_of(options)[choice]
        # Nothing that would leave less error fits into what is left over, and nothing cheaper is as good.
        for c, e in choices_of(options).values():
            assert e >= own[1] or cost - own[0] + c > limit
        assert choice.steps == 0 or own[0] < options.dense_cost


@pytest.mark.parametrize("kind", ["linear", "stairs"])
def test_comes_near_to_what_integer_programming_finds(kind: str) -> None:
    # "stairs" is how time grows: with an offset, and only where another block of channels is begun.
    generator = np.random.default_rng(0)
    gaps = []
    for _ in range(12):
        chosen = [layer_of(generator, kind) for _ in range(20)]
        limit = limit_at(chosen, float(generator.uniform(0.1, 0.8)))
        cost, error = cost_and_error(chosen, solve_knapsack(chosen, limit))
        assert cost <= limit * (1 + 1e-12)
        gaps.append(error / optimum(chosen, limit) - 1)
    assert min(gaps) >= -1e-6
    assert np.median(gaps) < 0.02
    assert max(gaps) < 0.15


def layer_of(generator: np.random.Generator, kind: str) -> LayerOptions:
    dense = float(generator.integers(50, 1000))
    offered = []
    for _ in range(2):
        gains = np.sort(generator.exponential(size=9))[::-1]
        left = 1 - 0.99 * gains.cumsum() / gains.sum()
        step, sizes = dense * generator.uniform(0.1, 0.3), np.arange(1.0, 10.0)
        costs: NDArray[np.float64] = step * sizes if kind == "linear" else dense * 0.1 + step * np.ceil(sizes / 3)
        offered.append(Alternative(np.arange(1, 10), left, costs))
    return LayerOptions(dense, tuple(offered))


def optimum(chosen: Sequence[LayerOptions], limit: float) -> float:
    """Return the least error, by branch and bound over a variable for each option of each layer."""
    columns = [(row, *pair) for row, options in enumerate(chosen) for pair in choices_of(options).values()]
    rows = np.zeros((len(chosen) + 1, len(columns)))
    for place, (row, cost, _) in enumerate(columns):
        rows[row, place], rows[-1, place] = 1, cost
    one, upper = np.ones(len(chosen)), [*np.ones(len(chosen)), limit]
    found = milp(
        [error for *_, error in columns],
        constraints=LinearConstraint(rows, [*one, -np.inf], upper),
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
    )
    return float(found.fun)


def test_what_is_left_over_buys_a_dense_layer_back() -> None:
    first = LayerOptions(12, (ranks([0.62, 0.31, 0.04, 0.03], 6),))
    second = LayerOptions(24, (ranks([0.45, 0.42, 0.13, 0.002], 17),))
    assert solve_knapsack([first, second], 29) == [Choice(0, 0), Choice(0, 1)]


def test_one_layer_gets_what_the_limit_buys() -> None:
    limits = (10, 25, 30, 39, 99, 100)
    options = LayerOptions(100, (ranks([4.0, 2.0, 1.0, 0.5], 10),))
    # Nothing is left at 40, so that dense, which costs 100, is not bought even where all fits but at the limit.
    assert [solve_knapsack([options], limit)[0].steps for limit in limits] == [1, 2, 3, 3, 4, 0]


def test_the_error_decides_between_layers_of_equal_cost() -> None:
    chosen = solve_knapsack(
        [LayerOptions(100, (ranks([9.0, 0.1], 5),)), LayerOptions(100, (ranks([5.0, 4.0], 5),))], 15
    )
    assert [choice.steps for choice in chosen] == [1, 2]


def test_the_better_of_two_offers_is_taken_at_each_limit() -> None:
    # The second alternative loses less but cannot be had for less than 30.
    cheap, good = ranks([0.5, 0.2, 0.2, 0.1], 10), ranks([0.5, 0.45, 0.05], 15, least=2)
    chosen = [solve_knapsack([LayerOptions(100, (cheap, good))], limit)[0] for limit in (10, 29, 30, 40)]
    assert chosen == [Choice(0, 1), Choice(0, 2), Choice(1, 2), Choice(0, 4)]


def test_a_layer_that_would_not_become_cheaper_stays_dense() -> None:
    dear, fair = LayerOptions(7, (ranks([1.0], 7),)), LayerOptions(20, (ranks([1.0], 7),))
    assert [choice.steps for choice in solve_knapsack([dear, fair], 14)] == [0, 1]


def test_a_dearer_option_that_is_no_better_is_never_taken() -> None:
    # Time falls where the channels fill a block: 8 of them are faster than 7.
    options = LayerOptions(100, (alternative([0.5, 0.4, 0.3], [30, 50, 45], first=6),))
    assert [solve_knapsack([options], limit)[0].steps for limit in (30, 44, 45, 60)] == [6, 6, 8, 8]


def test_a_limit_under_the_least_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 14 is needed, found 6"):
        solve_knapsack([LayerOptions(20, (ranks([1.0, 0.0], 7, least=2),))], 6)
