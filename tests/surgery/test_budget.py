from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsft.surgery.budget import Choice, Offer, Options, spread_ranks


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    gains = sorted(draw(st.lists(st.floats(0, 1), min_size=1, max_size=4)), reverse=True)
    return Offer(np.array(gains), draw(st.integers(1, 9)), draw(st.integers(1, len(gains))))


@st.composite
def layers(draw: st.DrawFn) -> Options:
    return Options(draw(st.integers(1, 20)), tuple(draw(st.lists(offers(), min_size=1, max_size=2))))


def choices_of(options: Options) -> list[Choice]:
    ranked = [
        Choice(place, ranks)
        for place, offer in enumerate(options.offers)
        for ranks in range(offer.least_ranks, len(offer.gains) + 1)
    ]
    return [Choice(0, 0), *ranked]


def cost_and_error(chosen: list[Options], choices: list[Choice]) -> tuple[int, float]:
    cost, error = 0, 0.0
    for options, choice in zip(chosen, choices, strict=True):
        offer = options.offers[choice.offer]
        cost += choice.ranks * offer.rank_cost if choice.ranks else options.dense_cost
        error += float(offer.gains[choice.ranks :].sum()) if choice.ranks else 0.0
    return cost, error


def ranks_of(gains: list[float], rank_cost: int, dense_cost: int, limit: int) -> int:
    (choice,) = spread_ranks([Options(dense_cost, (Offer(np.array(gains), rank_cost),))], limit)
    return choice.ranks


@settings(max_examples=200, deadline=None)
@given(chosen=st.lists(layers(), min_size=1, max_size=3), share=st.floats(0, 1))
def test_keeps_the_limit_and_is_as_good_as_every_choice_at_its_price(chosen: list[Options], share: float) -> None:
    least = sum(options.least_cost for options in chosen)
    most = sum(options.dense_cost for options in chosen)
    limit = least + int(share * (most - least))
    choices = spread_ranks(chosen, limit)
    cost, error = cost_and_error(chosen, choices)
    assert cost <= limit
    for options, choice in zip(chosen, choices, strict=True):
        assert choice in choices_of(options)
        own = choice.ranks * options.offers[choice.offer].rank_cost
        assert own < options.dense_cost
        # Nothing is left over that would buy the dense layer back.
        assert choice.ranks == 0 or cost - own + options.dense_cost > limit
    every = (cost_and_error(chosen, list(each)) for each in itertools.product(*map(choices_of, chosen)))
    best = min(e for c, e in every if c <= limit)
    # The relaxation is exact for the cost that it reaches, and short of the best by what one layer gives up.
    assert error <= best + max(float(o.gains.sum()) for options in chosen for o in options.offers) + 1e-9


def test_what_is_left_over_buys_a_dense_layer_back() -> None:
    first = Options(12, (Offer(np.array([0.62, 0.31, 0.04, 0.03]), 6),))
    second = Options(24, (Offer(np.array([0.45, 0.42, 0.13, 0.002]), 17),))
    assert spread_ranks([first, second], 29) == [Choice(0, 0), Choice(0, 1)]


def test_one_layer_gets_what_the_limit_buys() -> None:
    limits = (10, 25, 30, 39, 99, 100)
    assert [ranks_of([4.0, 2.0, 1.0, 0.5], 10, 100, limit) for limit in limits] == [1, 2, 3, 3, 4, 0]


def test_the_error_decides_between_layers_of_equal_cost() -> None:
    steep, flat = Offer(np.array([9.0, 0.1]), 5), Offer(np.array([5.0, 4.0]), 5)
    chosen = spread_ranks([Options(100, (steep,)), Options(100, (flat,))], 15)
    assert [choice.ranks for choice in chosen] == [1, 2]


def test_the_better_of_two_offers_is_taken_at_each_price() -> None:
    # The second offer loses less but cannot be had for less than 30.
    cheap, good = Offer(np.array([0.5, 0.2, 0.2, 0.1]), 10), Offer(np.array([0.5, 0.45, 0.05]), 15, 2)
    chosen = [spread_ranks([Options(100, (cheap, good))], limit)[0] for limit in (10, 29, 30, 45)]
    assert chosen == [Choice(0, 1), Choice(0, 2), Choice(1, 2), Choice(0, 4)]


def test_a_layer_that_would_not_become_cheaper_stays_dense() -> None:
    dear, fair = Options(7, (Offer(np.array([1.0]), 7),)), Options(20, (Offer(np.array([1.0]), 7),))
    assert [choice.ranks for choice in spread_ranks([dear, fair], 14)] == [0, 1]


def test_a_limit_under_the_least_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 14 is needed, found 6"):
        spread_ranks([Options(20, (Offer(np.array([1.0, 0.0]), 7, 2),))], 6)
