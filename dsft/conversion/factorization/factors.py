"""The factors of a dense kernel, and the functions that compute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Generator, Tensor

from dsft.choices import Structure
from dsft.conversion.factorization.channel_svd import ChannelSpectrum
from dsft.conversion.factorization.weighting import Weighting


@dataclass(frozen=True)
class Factors:
    """The weights of a depthwise-separable layer, in the order of :func:`dsft.separable.kernel_channels`.

    Attributes:
        depthwise: Depthwise kernels, ``(kernels, 1, *kernel_size)``.
        pointwise: Pointwise weights, ``(out_channels, kernels / groups, 1, ...)`` with ``dw_pw``,
            ``(kernels, in_channels / groups, 1, ...)`` with ``pw_dw``.
    """

    depthwise: Tensor
    pointwise: Tensor


@dataclass(frozen=True)
class LowRankFactors:
    """The weights of a low-rank layer.

    Attributes:
        first: ``(groups * rank, in_channels / groups, 1, ...)``.
        second: ``(out_channels, rank, 1, ...)``.
    """

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class PwDwPwFactors:
    """The weights of a pointwise-depthwise-pointwise layer.

    Attributes:
        expand: ``(groups * width, in_channels / groups, 1, ...)``.
        depthwise: ``(groups * width, 1, *kernel_size)``.
        project: ``(out_channels, width, 1, ...)``.
    """

    expand: Tensor
    depthwise: Tensor
    project: Tensor


AnyFactors = Factors | LowRankFactors | PwDwPwFactors


class SeparableFactorization(Protocol):
    """Computes the factors of a depthwise-separable layer."""

    def __call__(
        self,
        weight: Tensor,
        groups: int,
        kernels: Sequence[int],
        generator: Generator,
        order: Structure = Structure.DW_PW,
        weighting: Weighting | None = None,
        spectrum: ChannelSpectrum | None = None,
    ) -> Factors:
        """Compute them.

        Args:
            weight: Dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``. That of a transposed
                convolution is given with its channel dimensions swapped to this shape.
            groups: Groups of the convolution.
            kernels: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``).
            generator: Source of random numbers.
            order: Which convolution comes first.
            weighting: Moments that weight the error.
            spectrum: The decomposition of this kernel in this order with this weighting, if it is known.
        """
        ...


LowRankFactorization = Callable[[Tensor, int, int, Generator, Weighting | None], LowRankFactors]
"""Computes factors from a dense 1x1 kernel ``(out_channels, in_channels / groups, 1, ...)``, the number of groups, the
rank of each group, a random generator, and the moments that weight the error."""


PwDwPwFactorization = Callable[[Tensor, int, int, Generator, Weighting | None], PwDwPwFactors]
"""Computes factors from a dense kernel ``(out_channels, in_channels / groups, *kernel_size)``, the number of groups,
the width of each group, a random generator, and the moments that weight the error."""


@dataclass(frozen=True)
class FactorizationMethod:
    """A way to obtain the weights of converted layers.

    Attributes:
        separable: Computes the initial weights of a depthwise-separable layer.
        low_rank: Computes the initial weights of a low-rank layer.
        pw_dw_pw: Computes the initial weights of a pointwise-depthwise-pointwise layer.
        needs_calibration: Whether the initial weights are then fitted to calibration data.
        keeps_weights: Whether the pretrained weights are kept, as far as the rank allows.
    """

    separable: SeparableFactorization
    low_rank: LowRankFactorization
    pw_dw_pw: PwDwPwFactorization
    needs_calibration: bool = False
    keeps_weights: bool = True
