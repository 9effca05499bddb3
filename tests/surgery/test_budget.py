from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsft.surgery.budget import Offer, spread_ranks


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    gains = sorted(draw(st.lists(st.floats(0, 1), min_size=1, max_size=4)), reverse=True)
    return Offer(np.array(gains), draw(st.integers(1, 9)), draw(st.integers(1, 20)))


def cost_and_error(chosen: list[Offer], ranks: tuple[int, ...]) -> tuple[int, float]:
    cost = sum(rank * o.rank_cost if rank else o.dense_cost for o, rank in zip(chosen, ranks, strict=True))
    error = sum(float(o.gains[rank:].sum()) if rank else 0.0 for o, rank in zip(chosen, ranks, strict=True))
    return cost, error


@settings(max_examples=200, deadline=None)
@given(chosen=st.lists(offers(), min_size=1, max_size=4), share=st.floats(0, 1))
def test_keeps_the_limit_and_is_as_good_as_every_choice_at_its_price(chosen: list[Offer], share: float) -> None:
    least = sum(o.least_cost for o in chosen)
    most = sum(o.dense_cost for o in chosen)
    limit = least + int(share * (most - least))
    ranks = spread_ranks(chosen, limit)
    cost, error = cost_and_error(chosen, tuple(ranks))
    assert cost <= limit
    assert all(rank * o.rank_cost < o.dense_cost for o, rank in zip(chosen, ranks, strict=True) if rank)
    choices = itertools.product(*(range(len(o.gains) + 1) for o in chosen))
    best = min(e for c, e in (cost_and_error(chosen, each) for each in choices) if c <= limit)
    # The relaxation is exact up to what one layer gives up.
    assert error <= best + max(float(o.gains.sum()) for o in chosen) + 1e-9


def test_what_is_left_over_buys_a_dense_layer_back() -> None:
    first = Offer(np.array([0.62, 0.31, 0.04, 0.03]), 6, 12)
    second = Offer(np.array([0.45, 0.42, 0.13, 0.002]), 17, 24)
    assert spread_ranks([first, second], 29) == [0, 1]


def test_one_layer_gets_what_the_limit_buys() -> None:
    offer = Offer(np.array([4.0, 2.0, 1.0, 0.5]), 10, 100)
    assert [spread_ranks([offer], limit) for limit in (10, 25, 30, 39, 99, 100)] == [
        [1],
        [2],
        [3],
        [3],
        [4],
        [0],
    ]


def test_the_error_decides_between_layers_of_equal_cost() -> None:
    steep, flat = Offer(np.array([9.0, 0.1]), 5, 100), Offer(np.array([5.0, 4.0]), 5, 100)
    assert spread_ranks([steep, flat], 15) == [1, 2]


def test_a_layer_that_would_not_become_cheaper_stays_dense() -> None:
    assert spread_ranks([Offer(np.array([1.0]), 7, 7), Offer(np.array([1.0]), 7, 20)], 14) == [0, 1]


def test_a_limit_under_the_least_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 7 is needed, found 6"):
        spread_ranks([Offer(np.array([1.0]), 7, 20)], 6)
