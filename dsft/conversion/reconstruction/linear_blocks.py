"""Output channels that are linear in maps, fitted to a target: the last step of every layer's regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.conversion.factorization import RegressionTarget, ridge_regression
from dsft.errors import ConversionError
from dsft.separable import FactoredConv

RELU_ITERATIONS = 4
"""Majorisation steps for a layer before a ReLU, see :meth:`RegressionTarget.nearest`."""


@dataclass(frozen=True)
class LinearBlock:
    """Output channels that are linear in the same maps, with the weights that ridge regression shrinks to."""

    outputs: slice
    maps: Tensor
    prior: Tensor


def solve_blocks(blocks: Sequence[LinearBlock], target: RegressionTarget) -> tuple[list[Tensor], Tensor, Tensor]:
    """Fit the weights of all blocks.

    Returns:
        The weights of each block, the bias ``(out_channels,)``, and the prediction ``(samples, out_channels)``.
    """
    solvers = [ridge_regression(block.maps, block.prior) for block in blocks]
    aim = target.outputs()
    for _ in range(1 + (RELU_ITERATIONS if target.is_rectified else 0)):
        fits = [solve(aim[:, block.outputs]) for block, solve in zip(blocks, solvers, strict=True)]
        predicted = torch.cat([fit.predict(block.maps) for block, fit in zip(blocks, fits, strict=True)], dim=1)
        aim = target.nearest(predicted)
    return [fit.weights for fit in fits], torch.cat([fit.bias for fit in fits]), predicted


def like(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``(rows, numbers)`` in the shape, dtype and device of a convolution's weight."""
    return rows.reshape(len(rows), *weight.shape[1:]).to(weight)


def set_bias(layer: FactoredConv, bias: Tensor) -> None:
    """Copy a bias into the last convolution of a layer.

    Raises:
        ConversionError: The layer has none.
    """
    if layer.bias is None:
        raise ConversionError("has no bias to fit: it was planned without one. Plan the conversion again.")
    layer.bias.copy_(bias)
