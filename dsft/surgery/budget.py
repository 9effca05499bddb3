"""Spending one budget over all layers, kernel by kernel, where the error falls most for the cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Offer:
    """One way in which a layer may become separable, with some number of ranks.

    A rank is one depthwise kernel in each group of the convolution.

    Attributes:
        gains: Error that each further rank removes, ``(ranks,)``; descending after the first ``least_ranks``.
        rank_cost: Cost of one rank.
        least_ranks: The fewest ranks that it can have.
    """

    gains: NDArray[np.float64]
    rank_cost: int
    least_ranks: int = 1


@dataclass(frozen=True)
class Options:
    """What one layer may become: dense, which has no error, or one of the offers.

    Attributes:
        dense_cost: Cost of the layer as it is.
        offers: The ways in which it may become separable.
    """

    dense_cost: int
    offers: tuple[Offer, ...]

    @property
    def least_cost(self) -> int:
        """The lowest cost that the layer can have."""
        return min([self.dense_cost, *(offer.least_ranks * offer.rank_cost for offer in self.offers)])


@dataclass(frozen=True)
class Choice:
    """What one layer becomes: the place of its offer and the number of ranks, or 0 ranks where it stays dense."""

    offer: int
    ranks: int


DENSE = Choice(0, 0)


def spread_ranks(layers: Sequence[Options], limit: int) -> list[Choice]:
    r"""Choose offers and ranks so that the summed error is least while the summed cost is at most ``limit``.

    For a price :math:`\mu` of one unit of cost each layer minimises error plus :math:`\mu` times cost on its
    own; the price is bisected until the cost fits (Lagrangian relaxation; Everett 1963 shows the choice optimal
    for the cost that it reaches). What is left over buys further ranks and dense layers, greedily.

    Args:
        layers: The layers.
        limit: The cost to stay within; at least the sum of every ``least_cost``.

    Returns:
        What each layer becomes.

    Raises:
        ValueError: ``limit`` cannot be met.
    """
    least = sum(options.least_cost for options in layers)
    if limit < least:
        raise ValueError(f"limit: at least {least} is needed, found {limit}")
    if sum(options.dense_cost for options in layers) <= limit:
        return [DENSE] * len(layers)
    # At the highest price every layer is at its least cost, so `high` always fits.
    low, high = 0.0, 1.0 + max((float(offer.gains.sum()) for each in layers for offer in each.offers), default=0.0)
    for _ in range(200):
        price = (low + high) / 2
        if _total_cost(layers, _at_price(layers, price)) <= limit:
            high = price
        else:
            low = price
    choices = _at_price(layers, high)
    return _spend_rest(layers, choices, limit - _total_cost(layers, choices))


def _at_price(layers: Sequence[Options], price: float) -> list[Choice]:
    return [_best_choice(options, price) for options in layers]


def _best_choice(options: Options, price: float) -> Choice:
    best, least = DENSE, price * options.dense_cost
    for place, offer in enumerate(options.offers):
        ranks = _best_ranks(offer, price)
        burden = float(offer.gains[ranks:].sum()) + price * ranks * offer.rank_cost
        if burden < least and ranks * offer.rank_cost < options.dense_cost:
            best, least = Choice(place, ranks), burden
    return best


def _best_ranks(offer: Offer, price: float) -> int:
    free = offer.gains[offer.least_ranks :]
    return offer.least_ranks + int(np.searchsorted(-free, -price * offer.rank_cost, side="right"))


def _cost(options: Options, choice: Choice) -> int:
    return choice.ranks * options.offers[choice.offer].rank_cost if choice.ranks else options.dense_cost


def _total_cost(layers: Sequence[Options], choices: Sequence[Choice]) -> int:
    return sum(_cost(options, choice) for options, choice in zip(layers, choices, strict=True))


def _spend_rest(layers: Sequence[Options], choices: Sequence[Choice], rest: int) -> list[Choice]:
    """Buy what removes most error for its cost and still fits: a further rank, or the dense layer back."""
    chosen = list(choices)
    while upgrades := [
        (gain / cost, index, -cost, choice)
        for index, options in enumerate(layers)
        for gain, cost, choice in _upgrades(options, chosen[index])
        if cost <= rest
    ]:
        # No layer has two upgrades of one cost, so that choices are never compared.
        _, index, change, choice = max(upgrades)
        chosen[index] = choice
        rest += change
    return chosen


def _upgrades(options: Options, choice: Choice) -> list[tuple[float, int, Choice]]:
    """Return the error that one step up removes, its cost and its choice, for each way up that costs something."""
    if not choice.ranks:
        return []
    offer, ranks = options.offers[choice.offer], choice.ranks
    to_dense = (float(offer.gains[ranks:].sum()), options.dense_cost - ranks * offer.rank_cost, DENSE)
    if ranks == len(offer.gains) or (ranks + 1) * offer.rank_cost >= options.dense_cost:
        return [to_dense]
    return [to_dense, (float(offer.gains[ranks]), offer.rank_cost, Choice(choice.offer, ranks + 1))]
