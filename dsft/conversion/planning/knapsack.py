"""The multiple-choice knapsack problem: one option for each layer, with the least total error within a budget.

Each option of a layer has an error and a cost. The cost need not be linear in the size.
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
class Alternative:
    """One structure for a layer, in several sizes.

    Attributes:
        steps: The sizes, whole numbers from 1 on, ``(options,)``.
        errors: Error of each, ``(options,)``.
        costs: Cost of each, ``(options,)``.
    """

    steps: Places
    errors: Numbers
    costs: Numbers


@dataclass(frozen=True)
class LayerOptions:
    """The options of one layer: to stay dense, without error, or one of the sizes of an alternative.

    Attributes:
        dense_cost: Cost of the dense layer.
        alternatives: The structures that may replace it.
    """

    dense_cost: float
    alternatives: tuple[Alternative, ...]

    @property
    def least_cost(self) -> float:
        """The lowest cost that the layer can have."""
        return min(self.dense_cost, *(float(alternative.costs.min()) for alternative in self.alternatives), math.inf)


@dataclass(frozen=True)
class Choice:
    """The option chosen for a layer: the index of the alternative and its steps, or 0 steps for the dense layer."""

    alternative: int
    steps: int


DENSE = Choice(0, 0)


@dataclass(frozen=True)
class _Front:
    """The Pareto front of a layer: the options that no other beats in both error and cost, the cheapest first.

    The dense layer is last unless a cheaper option has no error either. Options that are not cheaper than the dense
    layer are not on the front.
    """

    errors: Numbers
    costs: Numbers
    alternatives: Places
    steps: Places

    @classmethod
    def of(cls, options: LayerOptions) -> _Front:
        errors = np.concatenate([[0.0], *(alternative.errors for alternative in options.alternatives)])
        costs = np.concatenate([[options.dense_cost], *(alternative.costs for alternative in options.alternatives)])
        steps = np.concatenate([[DENSE.steps], *(alternative.steps for alternative in options.alternatives)])
        sizes = [1, *(len(alternative.steps) for alternative in options.alternatives)]
        alternatives = np.repeat([DENSE.alternative, *range(len(options.alternatives))], sizes)
        # Stable, so that of equal options the dense one comes first, then the alternatives in their order.
        order = np.lexsort((errors, costs))
        lowest = np.minimum.accumulate(errors[order])
        front = order[np.concatenate([[True], lowest[1:] < lowest[:-1]])]
        return cls(errors[front], costs[front], alternatives[front], steps[front])

    def hull(self) -> Places:
        """Return the places on the lower convex hull, along which a unit of cost removes less and less error."""
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

    def best_within(self, cost: float) -> int:
        """Return the place of the most expensive option, which has the least error, within a cost."""
        return int(np.searchsorted(self.costs, cost, side="right")) - 1


def solve_knapsack(layers: Sequence[LayerOptions], limit: float) -> list[Choice]:
    """Choose one option for each layer so that the total error is small and the total cost at most ``limit``.

    Every layer starts at its cheapest option. The steps along the layers' convex hulls are taken in the order of the
    error that they remove per cost, as far as they fit: the optimum of the Lagrangian relaxation (Everett 1963), which
    is that of the linear one (Sinha & Zoltners 1979, "The Multiple-Choice Knapsack Problem"). The remaining budget
    goes to the steps that remove most error and still fit.

    Args:
        layers: The options of the layers.
        limit: The largest total cost, up to rounding; at least the sum of every ``least_cost``.

    Returns:
        The choice for each layer. Its error exceeds the optimum by at most what one step removes.

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
    _spend_remainder(fronts, places, limit)
    return [
        Choice(int(front.alternatives[place]), int(front.steps[place]))
        for front, place in zip(fronts, places, strict=True)
    ]


def _climb_hulls(fronts: Sequence[_Front], rest: float) -> Places:
    """Return the place of each layer on its front after the steps that remove most error per cost."""
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


def _spend_remainder(fronts: Sequence[_Front], places: Places, limit: float) -> None:
    """Improve the layers in place, that with most to gain first, until no better option fits."""
    while True:
        rest = limit - math.fsum(front.costs[place] for front, place in zip(fronts, places, strict=True))
        better = [front.best_within(front.costs[place] + rest) for front, place in zip(fronts, places, strict=True)]
        gains = [
            front.errors[place] - front.errors[max(later, place)]
            for front, place, later in zip(fronts, places, better, strict=True)
        ]
        best = int(np.argmax(gains))
        if not gains[best] > 0:
            return
        places[best] = better[best]
