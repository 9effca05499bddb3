"""The costs that a budget can limit: of a network, of its convolutions and of their candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dsft.conversion.discovery.sites import Site
from dsft.conversion.planning.knapsack import Alternative, LayerOptions
from dsft.conversion.planning.layer_latency import LayerLatency
from dsft.conversion.structures import Candidate
from dsft.measure import count_macs, count_parameters
from dsft.measure.example import ExampleInput

Filter = Callable[[Candidate, NDArray[np.int64]], NDArray[np.bool_]]
"""Decides which sizes of a candidate may be chosen, ``(options,)``."""

LAYERS_SHARE = 0.98
"""The largest share of a network's time that is attributed to its convolutions."""


@dataclass(frozen=True)
class CostModel:
    """One kind of cost, in any unit.

    Attributes:
        total: Cost of the whole original network.
        of_dense: Cost of a convolution.
        of_candidate: Cost of a candidate at numbers of steps, ``(options,)``; it need not be linear.
    """

    total: float
    of_dense: Callable[[Site], float]
    of_candidate: Callable[[Candidate, NDArray[np.int64]], NDArray[np.float64]]

    def options(
        self, candidates: Sequence[Candidate], allowed: Filter | None = None, largest_rise: float = math.inf
    ) -> LayerOptions:
        """Return the options of a layer with their costs.

        Args:
            candidates: The candidates of one layer.
            allowed: Which sizes may be chosen; None for all.
            largest_rise: Error up to which errors add up; a larger one counts by its square.
        """
        alternatives = []
        dense = self.of_dense(candidates[0].site)
        for candidate in candidates:
            costs = self.of_candidate(candidate, candidate.steps)
            # An option that costs more than the dense layer is never chosen.
            costs = costs if allowed is None else np.where(allowed(candidate, candidate.steps), costs, np.inf)
            # Errors may take long to compute, and are not needed where no size is chosen.
            errors = candidate.errors if costs.min() < dense else np.zeros(len(costs))
            errors = errors * np.maximum(errors / largest_rise, 1.0)
            alternatives.append(Alternative(candidate.steps, errors, costs))
        return LayerOptions(dense, tuple(alternatives))


def macs_model(model: nn.Module, example_input: ExampleInput) -> CostModel:
    """Return the multiply-accumulates of one forward pass for one image."""
    return CostModel(
        total=count_macs(model, example_input),
        of_dense=lambda site: site.macs,
        of_candidate=lambda candidate, steps: (steps * candidate.step_kernels * candidate.kernel_macs).astype(
            np.float64
        ),
    )


def params_model(model: nn.Module) -> CostModel:
    """Return the parameters; existing biases are kept and belong to the network, not to its layers."""

    def of_candidate(candidate: Candidate, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        params = steps * candidate.step_kernels * candidate.kernel_params + candidate.added_params
        return params.astype(np.float64)

    return CostModel(count_parameters(model), lambda site: site.params, of_candidate)


def latency_model(
    model: nn.Module,
    example_input: ExampleInput,
    layers: Sequence[Sequence[Candidate]],
    latency: LayerLatency,
) -> CostModel:
    """Return the milliseconds of one forward pass.

    The layers may take longer one by one than together, where a layer finds the output of the previous one in the
    cache. Their times are then scaled down so that something is left for the rest of the network.

    Args:
        model: The original network.
        example_input: Its input.
        layers: The candidates of every layer that can be converted; they have been timed.
        latency: Source of the measurements.
    """
    total = latency.time_network(model, example_input)
    alone = sum(latency.time_dense(candidates[0].site) for candidates in layers)
    scale = min(1.0, LAYERS_SHARE * total / alone)
    return CostModel(
        total=total,
        of_dense=lambda site: scale * latency.time_dense(site),
        of_candidate=lambda candidate, steps: scale * latency.time_candidate(candidate, steps),
    )
