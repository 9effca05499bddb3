"""What one convolution may be replaced by, in every size that one structure offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsft.choices import Form, Structure
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import ChannelSpectrum, Weighting
from dsft.conversion.request import Rank

ROUNDING = 1e-12
"""Relative squared error below which a kernel counts as exact in float64."""


@dataclass(frozen=True)
class CandidateOptions:
    """What candidates depend on besides their layer.

    Attributes:
        is_trained: The weights are trained. Otherwise their singular values are noise, so that all channels count
            alike and kernels are added for all of them at once.
        norm_between: A norm and an activation will stand between the two convolutions.
        weighting: The cost of changing the layer's kernel; None to count every number of it alike.
        one_kernel: Allow one depthwise kernel for each channel only. Further kernels need copies of the channels,
            which take longer than a ``pw_dw_pw`` layer with as small an error.
    """

    is_trained: bool = True
    norm_between: bool = False
    weighting: Weighting | None = None
    one_kernel: bool = False


class Candidate(Protocol):
    """One layer in one structure. Its sizes are numbers of steps; each step adds the same number of kernels."""

    @property
    def site(self) -> Site:
        """The layer."""

    @property
    def structure(self) -> Structure:
        """What replaces it."""

    @property
    def spectrum(self) -> ChannelSpectrum | None:
        """The decomposition of the kernel's channels, from which the factors can be made; None if there is none."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """The possible sizes in steps, ascending, ``(options,)``."""

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error at each size: the rise of the loss, or relative to the kernel, ``(options,)``."""

    @property
    def step_kernels(self) -> int:
        """Kernels that one step adds, over all groups."""

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel for one image, its part of the pointwise convolutions included."""

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel, its part of the pointwise convolutions included."""

    @property
    def kernel_elements(self) -> int:
        """Elements of feature maps, for one image, that one kernel adds to those written and read."""

    @property
    def added_params(self) -> int:
        """Parameters besides the kernels: the bias that a fit to calibration data adds where there is none."""

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the kernels, as a plan stores them, at a number of steps; empty for 0."""

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return the kernels, as a plan stores them, of a rank."""

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel."""

    def allowed_forms(self, kernels: Sequence[int]) -> tuple[Form, ...]:
        """Return the forms that the layer supports, the default one first; none where no channel is repeated."""

    def faster_variants(self) -> tuple[Self, ...]:
        """Return candidates that leave more error at the same size, and may be far faster."""

    def timed_sizes(self, largest: int) -> list[int]:
        """Return the numbers of steps at which the layer is timed, ascending.

        Args:
            largest: The number of steps up to which a layer may be faster than the convolution.
        """

    def typical_kernels(self, steps: int) -> tuple[int, ...]:
        """Return kernels that take the time of a plan's at a number of steps, whatever the weights are."""


class EqualGroupsCandidate(ABC):
    """What candidates have in common whose size is one number for every group: each size has a single shape."""

    @property
    @abstractmethod
    def steps(self) -> NDArray[np.int64]:
        """The possible sizes in steps, ascending, ``(options,)``."""

    @abstractmethod
    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the kernels of each group at a number of steps; empty for 0."""

    def allowed_forms(self, kernels: Sequence[int]) -> tuple[Form, ...]:  # noqa: ARG002 (no channel is repeated)
        """Return nothing: no channel is repeated."""
        return ()

    def faster_variants(self) -> tuple[Self, ...]:
        """Return nothing: a size has one shape."""
        return ()

    def timed_sizes(self, largest: int) -> list[int]:
        """Return the numbers of steps at which the layer is timed, ascending."""
        last = max(min(int(self.steps[-1]), largest), 1)
        return sorted({max(last // 4, 1), max(last // 2, 1), last})

    def typical_kernels(self, steps: int) -> tuple[int, ...]:
        """Return the kernels of each group."""
        return self.kernels_at(steps)


def bias_params(site: Site, weighting: Weighting | None) -> int:
    """Return the parameters of the bias that a fit to calibration data adds to a layer without one."""
    return site.module.out_channels if weighting is not None and site.module.bias is None else 0


def errors_left(gains: Tensor, *, is_weighted: bool = False) -> NDArray[np.float64]:
    """Return the squared error that is left after none, one, two ... of the gains; as a share where not weighted."""
    total = float(gains.sum())
    # Summed from the end, so that nothing is left after the last one.
    left = np.append(gains.flip(0).cumsum(0).flip(0).numpy(), 0.0) / (total or 1.0)
    # Rounding is not an error: an exact layer needs no further kernels.
    return np.where(left > ROUNDING, left, 0.0) * (total if is_weighted else 1.0)
