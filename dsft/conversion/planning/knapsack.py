"""Spending one budget over all layers, where the error falls most for the cost.

What a layer may become is a list of options, each with the error that it leaves and its cost; taking one option of
each layer is the multiple-choice knapsack problem. The cost may be anything, linear in the rank or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Offer:
    """One way in which a layer may become cheaper, in several sizes.

    Attributes:
        steps: The sizes, whole numbers from 1 on, ``(options,)``.
        errors: Error that each leaves, ``(options,)``.
        costs: Cost of each, ``(options,)``.
    """

    steps: Places
    errors: Numbers
    costs: Numbers


@dataclass(frozen=True)
class Options:
    """What one layer may become: dense, which has no error, or an option of one of the offers.

    Attributes:
        dense_cost: Cost of the layer as it is.
        offers: The ways in which it may become cheaper.
    """

    dense_cost: float
    offers: tuple[Offer, ...]

    @property
    def least_cost(self) -> float:
        """The lowest cost that the layer can have."""
        return min(self.dense_cost, *(float(offer.costs.min()) for offer in self.offers), math.inf)


@dataclass(frozen=True)
class Choice:
    """What one layer becomes: the place of its offer and the size, or 0 steps where it stays dense."""

    offer: int
    steps: int


DENSE = Choice(0, 0)


@dataclass(frozen=True)
class _Front:
    """The options of one layer that no other beats in both error and cost, the cheapest first.

    Dense is the last unless something cheaper has no error either, so what is not cheaper than dense is left out.
    """

    errors: Numbers
    costs: Numbers
    offers: Places
    steps: Places

    @classmethod
    def of(cls, options: Options) -> _Front:
        errors = np.concatenate([[0.0], *(offer.errors for offer in options.offers)])
        costs = np.concatenate([[options.dense_cost], *(offer.costs for offer in options.offers)])
        steps = np.concatenate([[DENSE.steps], *(offer.steps for offer in options.offers)])
        offers = np.repeat(
            [DENSE.offer, *range(len(options.offers))], [1, *(len(offer.steps) for offer in options.offers)]
        )
        # Stable, so that of equals dense comes first, and then the offers in their order.
        order = np.lexsort((errors, costs))
        lowest = np.minimum.accumulate(errors[order])
        front = order[np.concatenate([[True], lowest[1:] < lowest[:-1]])]
        return cls(errors[front], costs[front], offers[front], steps[front])

    def hull(self) -> Places:
        """Return the places on the lower convex hull, along which each unit of cost removes less error."""
        errors, costs = self.errors.tolist(), self.costs.tolist()
        corners: list[int] = []
        for place, (error, cost) in enumerate(zip(errors, costs, strict=True)):
            while len(corners) > 1:
                before, last = corners[-2:]
                slope_before = (errors[last] - errors[before]) / (costs[last] - costs[before])
                if (error - errors[last]) / (cost - costs[last]) > slope_before:
                    break
                # The last corner lies on or above the line from the one before it to this place.
                corners.pop()
            corners.append(place)
        return np.array(corners)

    def dearest_within(self, cost: float) -> int:
        """Return the place of the dearest option, which is the best, that costs so much at most."""
        return int(np.searchsorted(self.costs, cost, side="right")) - 1


def spread_ranks(layers: Sequence[Options], limit: float) -> list[Choice]:
    """Choose what each layer becomes so that the summed error is least while the summed cost is at most ``limit``.

    Every layer starts at its cheapest option. The steps along the layers' convex hulls are taken in the order of
    the error that they remove for their cost, as far as they fit: the optimum of the Lagrangian relaxation
    (Everett 1963), which is that of the linear one (Sinha & Zoltners 1979, "The Multiple-Choice Knapsack Problem").
    What is left over buys whatever removes most error and still fits.

    Args:
        layers: The layers.
        limit: The cost to stay within, but for rounding; at least the sum of every ``least_cost``.

    Returns:
        What each layer becomes. It leaves more error than the best there is by no more than one step removes.

    Raises:
        ValueError: ``limit`` cannot be met.
    """
    least = sum(options.least_cost for options in layers)
    if limit < least:
        raise ValueError(f"limit: at least {least:g} is needed, found {limit:g}")
    if sum(options.dense_cost for options in layers) <= limit:
        return [DENSE] * len(layers)
    fronts = [_Front.of(options) for options in layers]
    places = _climb_hulls(fronts, limit - least)
    _spend_rest(fronts, places, limit)
    return [
        Choice(int(front.offers[place]), int(front.steps[place])) for front, place in zip(fronts, places, strict=True)
    ]


def _climb_hulls(fronts: Sequence[_Front], rest: float) -> Places:
    """Return the place of each layer on its front after the steps that pay best have been taken."""
    hulls = [front.hull() for front in fronts]
    layer = np.repeat(np.arange(len(fronts)), [len(hull) - 1 for hull in hulls])
    target = np.concatenate([hull[1:] for hull in hulls])
    cost = np.concatenate([np.diff(front.costs[hull]) for front, hull in zip(fronts, hulls, strict=True)])
    gain = np.concatenate([-np.diff(front.errors[hull]) for front, hull in zip(fronts, hulls, strict=True)])
    # Stable, so that a layer's own steps stay in their order.
    order = np.argsort(-gain / cost, kind="stable")
    places = np.zeros(len(fronts), dtype=np.int64)
    while len(order):
        spent = np.cumsum(cost[order])
        fitting = int(np.searchsorted(spent, rest, side="right"))
        np.maximum.at(places, layer[order[:fitting]], target[order[:fitting]])
        if fitting == len(order):
            break
        rest -= float(spent[fitting - 1]) if fitting else 0.0
        # The layer whose step does not fit stays where it is; the others go on.
        order = order[fitting:][layer[order[fitting:]] != layer[order[fitting]]]
    return places


def _spend_rest(fronts: Sequence[_Front], places: Places, limit: float) -> None:
    """Move the layers on, that with most to gain first, until nothing better fits; in place."""
    while True:
        rest = limit - math.fsum(front.costs[place] for front, place in zip(fronts, places, strict=True))
        better = [front.dearest_within(front.costs[place] + rest) for front, place in zip(fronts, places, strict=True)]
        gains = [
            front.errors[place] - front.errors[max(later, place)]
            for front, place, later in zip(fronts, places, better, strict=True)
        ]
        best = int(np.argmax(gains))
        if not gains[best] > 0:
            return
        places[best] = better[best]
