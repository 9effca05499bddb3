"""What a budget counts: the cost of a network, of each convolution, and of what each may become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dsft.conversion.discovery.sites import Site
from dsft.conversion.planning.candidates import Bid
from dsft.conversion.planning.knapsack import Offer, Options
from dsft.conversion.planning.layer_latency import Clock
from dsft.measure import count_macs, count_parameters
from dsft.measure.example import ExampleInput

Allowed = Callable[[Bid, NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class CostModel:
    """One kind of cost, in whatever unit.

    Attributes:
        total: Cost of the whole original network.
        of_dense: Cost of a convolution as it is.
        of_bid: Cost of what a bid makes of it at each number of steps, ``(options,)``; it need not be linear.
    """

    total: float
    of_dense: Callable[[Site], float]
    of_bid: Callable[[Bid, NDArray[np.int64]], NDArray[np.float64]]

    def options(self, bids: Sequence[Bid], is_allowed: Allowed | None = None) -> Options:
        """Return what a layer may become, and what it costs.

        Args:
            bids: The ways in which it may become cheaper.
            is_allowed: Which sizes of a bid may be taken, ``(options,)``; None for all.
        """
        offers = []
        for bid in bids:
            costs = self.of_bid(bid, bid.steps)
            # Whatever costs more than the dense layer is never taken.
            costs = costs if is_allowed is None else np.where(is_allowed(bid, bid.steps), costs, np.inf)
            offers.append(Offer(bid.steps, bid.errors, costs))
        return Options(self.of_dense(bids[0].site), tuple(offers))


def macs_model(model: nn.Module, example_input: ExampleInput) -> CostModel:
    """Return the multiply-accumulates of one forward pass for one image."""
    return CostModel(
        total=count_macs(model, example_input),
        of_dense=lambda site: site.macs,
        of_bid=lambda bid, steps: (steps * bid.step_kernels * bid.kernel_macs).astype(np.float64),
    )


def params_model(model: nn.Module) -> CostModel:
    """Return the parameters; biases that exist stay what they are, and are not the layers' but the network's."""
    return CostModel(
        total=count_parameters(model),
        of_dense=lambda site: site.params,
        of_bid=lambda bid, steps: (steps * bid.step_kernels * bid.kernel_params + bid.added_params).astype(np.float64),
    )


def latency_model(
    model: nn.Module, example_input: ExampleInput, layers: Sequence[Sequence[Bid]], clock: Clock
) -> CostModel:
    """Return the milliseconds of one forward pass.

    Layers alone may take longer than together, where one finds in the cache what another left there. Then their
    times are scaled, so that they leave something for the rest of the network.

    Args:
        model: The original network.
        example_input: What it takes.
        layers: The bids of every layer that can be converted; the clock has measured them.
        clock: Measures.
    """
    total = clock.time_network(model, example_input)
    alone = sum(clock.time_dense(bids[0].site) for bids in layers)
    scale = min(1.0, LAYERS_SHARE * total / alone)
    return CostModel(
        total=total,
        of_dense=lambda site: scale * clock.time_dense(site),
        of_bid=lambda bid, steps: scale * clock.time_bid(bid, steps),
    )


LAYERS_SHARE = 0.98
"""The largest share of a network's time that its convolutions can be credited with."""
