"""The structure ``low_rank``: two 1x1 convolutions in place of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import low_rank_class_of
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import METHODS, LowRankFactors, matrix_energies
from dsft.conversion.plan import Replacement
from dsft.conversion.request import Rank
from dsft.conversion.structures.candidate import CandidateOptions, EqualGroupsCandidate, bias_params, errors_left
from dsft.conversion.structures.spec import FactorRequest, StructureSpec
from dsft.separable import LowRankConv


@dataclass(frozen=True)
class LowRankCandidate(EqualGroupsCandidate):
    """A 1x1 convolution as two, with the energy that each rank keeps.

    Attributes:
        site: The layer.
        energies: Squared singular values of each group's matrix, descending, ``(groups, ranks)``.
        options: What else the candidate depends on.
    """

    site: Site
    energies: Tensor
    options: CandidateOptions
    structure: Structure = Structure.LOW_RANK
    spectrum: None = None
    """Planning needs the singular values alone: the vectors of matrices of this size take far longer."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """The ranks, ascending, ``(options,)``."""
        return np.arange(1, self.energies.shape[1] + 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error at each rank: the rise of the loss, or relative to the kernel."""
        return errors_left(self.energies.sum(0), is_weighted=self.options.weighting is not None)[self.steps]

    @property
    def step_kernels(self) -> int:
        """Kernels of the first convolution for each rank."""
        return len(self.energies)

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel of the first convolution and of its part of the second, for one image."""
        return self.site.output_positions * self.kernel_params

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel of the first convolution and of its part of the second."""
        module = self.site.module
        return (module.in_channels + module.out_channels) // module.groups

    @property
    def kernel_elements(self) -> int:
        """Elements of feature maps, for one image, that one kernel adds to those written and read."""
        return 2 * self.site.output_positions

    @property
    def added_params(self) -> int:
        """Parameters besides the kernels: the bias that a fit to calibration data adds where there is none."""
        return bias_params(self.site, self.options.weighting)

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the rank of each group; empty for 0."""
        return (steps,) * len(self.energies) if steps else ()

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return ``rank`` for each group, or as much as makes the layer exact."""
        groups, limit = self.energies.shape
        return (min(rank, limit) if isinstance(rank, int) else limit,) * groups

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel."""
        return math.sqrt(float(errors_left(self.energies.sum(0))[kernels[0]]))


def low_rank_candidate(site: Site, options: CandidateOptions) -> LowRankCandidate:
    """Compute the singular values of a 1x1 convolution's kernel.

    Args:
        site: The layer.
        options: What else the candidate depends on.

    Raises:
        ConversionError: The weight is not finite.
    """
    energies = matrix_energies(site.dense_kernel, site.module.groups, options.weighting)
    return LowRankCandidate(site, energies, options)


def factorize_low_rank(request: FactorRequest) -> LowRankFactors:
    """Return the factors of a low-rank layer."""
    factorize = METHODS[request.method].low_rank
    return factorize(request.kernel, request.groups, request.kernels[0], request.generator, request.weighting)


def build_low_rank(dense: Convolution, replacement: Replacement, *, norm_between: bool) -> LowRankConv:  # noqa: ARG001 (a norm requires another structure)
    """Build the layer that replaces a convolution, with random weights."""
    return low_rank_class_of(dense).like(dense, replacement.kernels)


LOW_RANK = StructureSpec(
    make_candidate=low_rank_candidate,
    factorize=factorize_low_rank,
    build_layer=build_low_rank,
    channels=lambda dense: ("groups", dense.groups),
)
