"""What a budget counts: the cost of a network, of each convolution, and of what each may become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dsft.measure import count_macs, count_parameters
from dsft.measure.example import ExampleInput
from dsft.surgery.bids import Bid
from dsft.surgery.budget import Offer, Options
from dsft.surgery.sites import Site


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

    def options(self, bids: tuple[Bid, ...]) -> Options:
        """Return what a layer may become, and what it costs."""
        offers = (Offer(bid.steps, bid.errors, self.of_bid(bid, bid.steps)) for bid in bids)
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
