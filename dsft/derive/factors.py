"""The two factors of a dense kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Generator, Tensor


@dataclass(frozen=True)
class Factors:
    """The weights of a depthwise-separable layer, in the order of ``separable.conv2d.kernel_channels``.

    Attributes:
        depthwise: Depthwise kernels, ``(kernels, 1, *kernel_size)``.
        pointwise: Weights of the sums, ``(out_channels, kernels / groups, 1, ...)``.
    """

    depthwise: Tensor
    pointwise: Tensor


Derivation = Callable[[Tensor, int, Sequence[int], Generator], Factors]
"""Derive factors from a dense weight ``(out_channels, in_channels / groups, *kernel_size)``, the number of
groups, the depthwise kernels of each input channel, and a generator for whatever is random."""
