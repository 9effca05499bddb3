"""The structure ``pw_dw_pw``: a pointwise, a depthwise and a pointwise convolution, with one kernel for each map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import pw_dw_pw_class_of
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import METHODS, PwDwPwFactors, decomposition_errors, exact_width, require_finite
from dsft.conversion.plan import Replacement
from dsft.conversion.request import Rank
from dsft.conversion.structures.candidate import CandidateOptions, EqualGroupsCandidate, bias_params
from dsft.conversion.structures.spec import FactorRequest, StructureSpec
from dsft.separable import PointwiseDepthwisePointwiseConv

ALIGNMENT = 16
"""Widths are multiples of this, over all groups. In ONNX Runtime 128 channels of 28x28 with a width of 118 take 1.6
times as long as with 112: its kernels compute 16 channels at a time."""

NARROW_ALIGNMENT = 8
"""The same for a layer with at most ``NARROW`` channels on both sides, where steps of 16 would be coarse."""

NARROW = 32

LARGEST = 0.8
"""Largest share of the convolution's weights that a layer may have; a larger one is not faster."""

LEAST_ERROR = 1e-12
"""Squared error, relative to the kernel, that counts as none."""

DECOMPOSED_WIDTHS = 5
"""Widths at which the kernel is decomposed; the errors of those in between are interpolated."""


@dataclass(frozen=True)
class PwDwPwCandidate(EqualGroupsCandidate):
    """A layer as ``pw_dw_pw``, with the error that is left at each width.

    Attributes:
        site: The layer.
        widths: The possible widths of a group, ascending, as multiples of the first one.
        options: What else the candidate depends on.
    """

    site: Site
    widths: NDArray[np.int64]
    options: CandidateOptions
    structure: Structure = Structure.PW_DW_PW
    spectrum: None = None
    """The kernel is decomposed again at the width that is chosen."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """The possible sizes in steps, ascending, ``(options,)``."""
        return np.arange(1, len(self.widths) + 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error at each size: the rise of the loss, or relative to the kernel."""
        total, errors = self._curve
        return errors if self.options.weighting is not None or not total else errors / total

    @cached_property
    def _curve(self) -> tuple[float, NDArray[np.float64]]:
        """The squared norm of the kernel and its squared error at each width, in the norm of the weighting.

        The logarithm of the error is nearly linear in the width, so that a few widths are decomposed.
        """
        if not self.options.is_trained:
            # The weights are noise: what counts is how many are left.
            return 1.0, 1 - np.minimum(self.widths / exact_width(*_sizes(self.site)), 1.0)
        count = len(self.widths)
        places = np.unique(np.geomspace(1, count, min(DECOMPOSED_WIDTHS, count)).round().astype(np.int64)) - 1
        total, found = self._decompose(self.widths[places].tolist())
        # Least squares need not have converged equally far at each width.
        least = LEAST_ERROR * max(total, 1.0)
        logarithms = np.log(np.maximum(np.minimum.accumulate(found), least))
        errors = np.exp(np.interp(self.widths, self.widths[places], logarithms))
        return total, np.where(errors > least, errors, 0.0)

    def _decompose(self, widths: Sequence[int]) -> tuple[float, list[float]]:
        kernel = self.site.dense_kernel.detach().cpu().double().flatten(2)
        return decomposition_errors(kernel, self.site.module.groups, widths, self.options.weighting)

    @property
    def step_kernels(self) -> int:
        """Kernels that one step adds, over all groups."""
        return int(self.widths[0]) * self.site.module.groups

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel for one image, its part of the pointwise convolutions included."""
        return pw_dw_pw_kernel_macs(self.site)

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel, its part of the pointwise convolutions included."""
        module = self.site.module
        return math.prod(module.kernel_size) + (module.in_channels + module.out_channels) // module.groups

    @property
    def kernel_elements(self) -> int:
        """Elements of feature maps, for one image, that one kernel adds to those written and read."""
        return 2 * (self.site.input_positions + self.site.output_positions)

    @property
    def added_params(self) -> int:
        """Parameters besides the kernels: the bias that a fit to calibration data adds where there is none."""
        return bias_params(self.site, self.options.weighting)

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the width of each group at a number of steps; empty for 0."""
        return (steps * int(self.widths[0]),) * self.site.module.groups if steps else ()

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return ``rank`` kernels for each channel of the wider side, or as many as make the layer exact."""
        module, exact = self.site.module, exact_width(*_sizes(self.site))
        widest = max(module.in_channels, module.out_channels) // module.groups
        return (min(rank * widest, exact) if isinstance(rank, int) else exact,) * module.groups

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative error of the kernel; it is 0 at the width that represents every kernel."""
        width = kernels[0]
        if width >= exact_width(*_sizes(self.site)):
            return 0.0
        if width in self.widths:
            total, errors = self._curve
            left = float(errors[width // int(self.widths[0]) - 1])
        else:
            total, (left,) = self._decompose([width])
        return math.sqrt(left / total) if total else 0.0


def pw_dw_pw_kernel_macs(site: Site) -> int:
    """Return the multiply-accumulates of one kernel for one image, its part of the pointwise convolutions included.

    The first pointwise convolution is computed for each position of the input, the second for each of the output.
    """
    module, groups = site.module, site.module.groups
    inputs = site.input_positions * (module.in_channels // groups)
    outputs = site.output_positions * (module.out_channels // groups)
    return inputs + site.positions * math.prod(module.kernel_size) + outputs


def pw_dw_pw_candidate(site: Site, options: CandidateOptions) -> PwDwPwCandidate:
    """List the widths of a layer; the kernel is decomposed when their errors are asked for.

    Args:
        site: The layer.
        options: What else the candidate depends on.

    Raises:
        ConversionError: The weight is not finite.
    """
    require_finite(site.dense_kernel)
    step, sizes = aligned_step(site), _sizes(site)
    largest = min(exact_width(*sizes), int(LARGEST * math.prod(sizes) / sum(sizes)))
    return PwDwPwCandidate(site, step * np.arange(1, max(largest // step, 1) + 1), options)


def aligned_step(site: Site) -> int:
    """Return the kernels of a group that make the width of all groups a multiple of what runtimes compute at once.

    A group of a layer of few channels may hold no more than fewer kernels; then these are the step.
    """
    module = site.module
    is_narrow = max(module.in_channels, module.out_channels) <= NARROW
    wanted = NARROW_ALIGNMENT if is_narrow else ALIGNMENT
    return min(wanted // math.gcd(wanted, module.groups), exact_width(*_sizes(site)))


def _sizes(site: Site) -> tuple[int, int, int]:
    """Return the output channels and input channels of a group, and the kernel positions."""
    module = site.module
    groups = module.groups
    return module.out_channels // groups, module.in_channels // groups, math.prod(module.kernel_size)


def factorize_pw_dw_pw(request: FactorRequest) -> PwDwPwFactors:
    """Return the factors of a layer."""
    factorize = METHODS[request.method].pw_dw_pw
    return factorize(request.kernel, request.groups, request.kernels[0], request.generator, request.weighting)


def build_pw_dw_pw(
    dense: Convolution,
    replacement: Replacement,
    *,
    norm_between: bool,  # noqa: ARG001 (a norm requires another structure)
) -> PointwiseDepthwisePointwiseConv:
    """Build the layer that replaces a convolution, with random weights."""
    return pw_dw_pw_class_of(dense).like(dense, replacement.kernels)


PW_DW_PW = StructureSpec(
    make_candidate=pw_dw_pw_candidate,
    factorize=factorize_pw_dw_pw,
    build_layer=build_pw_dw_pw,
    channels=lambda dense: ("groups", dense.groups),
)
