"""Spending one budget over all layers, kernel by kernel, where the error falls most for the cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Offer:
    """What one layer may become: dense, or separable with some number of ranks.

    A rank is one depthwise kernel in each group of the convolution.

    Attributes:
        gains: Error that each further rank removes, descending, ``(ranks,)``; the dense layer has no error.
        rank_cost: Cost of one rank.
        dense_cost: Cost of the layer as it is.
    """

    gains: NDArray[np.float64]
    rank_cost: int
    dense_cost: int

    @property
    def least_cost(self) -> int:
        """The lowest cost that the layer can have."""
        return min(self.rank_cost, self.dense_cost)


def spread_ranks(offers: Sequence[Offer], limit: int) -> list[int]:
    r"""Choose ranks so that the summed error is least while the summed cost is at most ``limit``.

    For a price :math:`\mu` of one unit of cost each layer minimises error plus :math:`\mu` times cost on its
    own; the price is bisected until the cost fits (Lagrangian relaxation, exact up to one rank of one layer;
    Everett 1963). What is left over buys further ranks.

    Args:
        offers: The layers.
        limit: The cost to stay within; at least the sum of every ``least_cost``.

    Returns:
        Ranks of each layer, 0 where it stays dense.

    Raises:
        ValueError: ``limit`` cannot be met.
    """
    least = sum(offer.least_cost for offer in offers)
    if limit < least:
        raise ValueError(f"limit: at least {least} is needed, found {limit}")
    if sum(offer.dense_cost for offer in offers) <= limit:
        return [0] * len(offers)
    # At the highest price every layer is at its least cost, so `high` always fits.
    low, high = 0.0, 1.0 + max((float(o.gains.sum()) for o in offers), default=0.0)
    for _ in range(200):
        price = (low + high) / 2
        if _total_cost(offers, _at_price(offers, price)) <= limit:
            high = price
        else:
            low = price
    ranks = _at_price(offers, high)
    return _spend_rest(offers, ranks, limit - _total_cost(offers, ranks))


def _at_price(offers: Sequence[Offer], price: float) -> list[int]:
    return [_best_rank(offer, price) for offer in offers]


def _best_rank(offer: Offer, price: float) -> int:
    if offer.rank_cost >= offer.dense_cost:
        return 0
    worth = int(np.searchsorted(-offer.gains, -price * offer.rank_cost, side="right"))
    ranks = max(worth, 1)
    error = float(offer.gains[ranks:].sum())
    is_dense_better = price * offer.dense_cost <= error + price * ranks * offer.rank_cost
    return 0 if is_dense_better else ranks


def _cost(offer: Offer, ranks: int) -> int:
    return ranks * offer.rank_cost if ranks else offer.dense_cost


def _total_cost(offers: Sequence[Offer], ranks: Sequence[int]) -> int:
    return sum(_cost(offer, count) for offer, count in zip(offers, ranks, strict=True))


def _spend_rest(offers: Sequence[Offer], ranks: Sequence[int], rest: int) -> list[int]:
    """Buy the best further ranks that still fit; a layer that reaches its dense cost stops below it."""
    chosen = list(ranks)
    while True:
        affordable = [
            (offer.gains[chosen[index]] / offer.rank_cost, index)
            for index, offer in enumerate(offers)
            if 0 < chosen[index] < len(offer.gains)
            and offer.rank_cost <= rest
            and (chosen[index] + 1) * offer.rank_cost < offer.dense_cost
        ]
        if not affordable:
            return chosen
        _, best = max(affordable)
        chosen[best] += 1
        rest -= offers[best].rank_cost
