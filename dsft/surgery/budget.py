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
    own; the price is bisected until the cost fits (Lagrangian relaxation; Everett 1963 shows the choice optimal
    for the cost that it reaches). What is left over buys further ranks and dense layers, greedily.

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
    """Buy what removes most error for its cost and still fits: a further rank, or the dense layer back."""
    chosen = list(ranks)
    while upgrades := [
        (gain / cost, index, rank, cost)
        for index, offer in enumerate(offers)
        for gain, cost, rank in _upgrades(offer, chosen[index])
        if cost <= rest
    ]:
        _, index, rank, cost = max(upgrades)
        chosen[index] = rank
        rest -= cost
    return chosen


def _upgrades(offer: Offer, ranks: int) -> list[tuple[float, int, int]]:
    """Return the error that one step up removes, its cost and its rank, for each way up that costs something."""
    if ranks == 0:
        return []
    to_dense = (float(offer.gains[ranks:].sum()), offer.dense_cost - ranks * offer.rank_cost, 0)
    if ranks == len(offer.gains) or (ranks + 1) * offer.rank_cost >= offer.dense_cost:
        return [to_dense]
    return [to_dense, (float(offer.gains[ranks]), offer.rank_cost, ranks + 1)]
