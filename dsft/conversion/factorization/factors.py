"""The two factors of a dense kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Generator, Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.weighting import Weighting


@dataclass(frozen=True)
class Factors:
    """The weights of a depthwise-separable layer, in the order of ``separable.kernels.kernel_channels``.

    Attributes:
        depthwise: Depthwise kernels, ``(kernels, 1, *kernel_size)``.
        pointwise: Weights of the sums, ``(out_channels, kernels / groups, 1, ...)`` with ``dw_pw``,
            ``(kernels, in_channels / groups, 1, ...)`` with ``pw_dw``.
    """

    depthwise: Tensor
    pointwise: Tensor


Derivation = Callable[[Tensor, int, Sequence[int], Generator, Structure, Weighting | None], Factors]
"""Derive factors from a dense weight ``(out_channels, in_channels / groups, *kernel_size)``, the number of groups,
the depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``), a generator for whatever is
random, the order, and what a change of the weight costs. The weight of a transposed convolution is given with its
channels swapped to that shape."""
