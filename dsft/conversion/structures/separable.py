"""The structures ``dw_pw`` and ``pw_dw``: a depthwise and a pointwise convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dsft.choices import Form, Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import separable_class_of
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import METHODS, ChannelSpectrum, Factors, channel_spectrum
from dsft.conversion.plan import Replacement
from dsft.conversion.request import Rank
from dsft.conversion.structures.candidate import CandidateOptions, bias_params, errors_left
from dsft.conversion.structures.spec import FactorRequest, StructureSpec
from dsft.separable import DepthwiseSeparableConv, allowed_forms

TIMED_RANKS = (0.5, 1.0, 2.0, 3.0)
"""Kernels per channel at which a layer is timed; between them times are interpolated."""


@dataclass(frozen=True)
class SeparableCandidate:
    """A layer as ``dw_pw`` or ``pw_dw``, with the energy that each possible depthwise kernel keeps.

    Attributes:
        site: The layer.
        structure: ``dw_pw`` or ``pw_dw``.
        spectrum: The decomposition of each channel's slice of the kernel.
        energies: Squared singular values of each channel that has its own kernels, descending, ``(channels, ranks)``.
        ranking: For each group the places in its flattened energies, in the order in which its kernels are added:
            the strongest first, but in ``pw_dw`` after the first kernel of each output channel, which every output
            needs; ``(groups, kernels)``.
        step: Kernels that each step adds to a group.
        options: What else the candidate depends on.
    """

    site: Site
    structure: Structure
    spectrum: ChannelSpectrum
    energies: Tensor
    ranking: Tensor
    step: int
    options: CandidateOptions

    @property
    def steps(self) -> NDArray[np.int64]:
        """The possible sizes in steps, ascending, ``(options,)``."""
        groups = len(self.ranking)
        least = 1 if self.structure is Structure.DW_PW else len(self.energies) // groups // self.step
        most = 1 if self.options.one_kernel else self.ranking.shape[1] // self.step
        return np.arange(least, most + 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Squared error at each size: the rise of the loss, or relative to the kernel."""
        ranked = self.energies.reshape(len(self.ranking), -1).gather(1, self.ranking)
        gains = ranked.sum(0).reshape(-1, self.step).sum(1)
        return errors_left(gains, is_weighted=self.options.weighting is not None)[self.steps]

    @property
    def step_kernels(self) -> int:
        """Kernels that one step adds, over all groups."""
        return len(self.ranking) * self.step

    @property
    def kernel_macs(self) -> int:
        """Multiply-accumulates of one kernel for one image, its part of the pointwise convolution included."""
        return separable_kernel_macs(self.site, self.structure)

    @property
    def kernel_params(self) -> int:
        """Parameters of one kernel, its part of the pointwise convolution and of the norm included."""
        module = self.site.module
        ends = module.out_channels if self.structure is Structure.DW_PW else module.in_channels
        pointwise = ends // module.groups
        return math.prod(module.kernel_size) + pointwise + (2 if self.options.norm_between else 0)

    @property
    def kernel_elements(self) -> int:
        """Elements of feature maps, for one image, that one kernel adds to those written and read."""
        return 2 * (self.site.output_positions if self.structure is Structure.DW_PW else self.site.input_positions)

    @property
    def added_params(self) -> int:
        """Parameters besides the kernels: the bias that a fit to calibration data adds where there is none."""
        return bias_params(self.site, self.options.weighting)

    def kernels_at(self, steps: int) -> tuple[int, ...]:
        """Return the kernels of each channel at a number of steps; empty for 0."""
        if not steps:
            return ()
        channels, ranks = self.energies.shape
        width = channels // len(self.ranking)
        counts = [torch.bincount(row[: steps * self.step] // ranks, minlength=width) for row in self.ranking]
        return tuple(torch.cat(counts).tolist())

    def kernels_at_rank(self, rank: Rank) -> tuple[int, ...]:
        """Return ``rank`` kernels for each channel, or as many as make the layer exact."""
        channels, limit = self.energies.shape
        return (min(rank, limit) if isinstance(rank, int) else limit,) * channels

    def relative_error(self, kernels: Sequence[int]) -> float:
        """Return the relative Frobenius error of the kernel."""
        total = float(self.energies.sum())
        if not total:
            return 0.0
        kept = functional.pad(self.energies.cumsum(1), (1, 0)).gather(1, torch.tensor(kernels).unsqueeze(1))
        return math.sqrt(max(1 - float(kept.sum()) / total, 0.0))

    def allowed_forms(self, kernels: Sequence[int]) -> tuple[Form, ...]:
        """Return the forms that the layer supports, the default one first; none where no channel is repeated."""
        module, norm_between = self.site.module, self.options.norm_between
        return allowed_forms(
            kernels, module.groups, self.structure, transposed=module.transposed, norm_between=norm_between
        )

    def faster_variants(self) -> tuple[SeparableCandidate, ...]:
        """Return the candidate that adds equal numbers of kernels to all channels, the first ones first."""
        return () if self.options.one_kernel else (self._uniform(),)

    def _uniform(self) -> SeparableCandidate:
        (channels, ranks), groups = self.energies.shape, len(self.ranking)
        width = channels // groups
        by_rank = torch.arange(width * ranks).reshape(width, ranks).T.flatten()
        return replace(self, ranking=by_rank.expand(groups, -1), step=width)

    def timed_sizes(self, largest: int) -> list[int]:
        """Return the numbers of steps at which the layer is timed, ascending."""
        least = int(self.steps[0])
        last = max(min(int(self.steps[-1]), largest), least)
        wanted = [round(rank * len(self.energies) / self.step_kernels) for rank in TIMED_RANKS]
        return sorted({min(max(each, least), last) for each in wanted} | {last})

    def typical_kernels(self, steps: int) -> tuple[int, ...]:
        """Return kernels that differ by one or two from channel to channel, as far as a step allows it."""
        channels, ranks = self.energies.shape
        groups = len(self.ranking)
        width, total = channels // groups, steps * self.step
        block = [total // width + (place < total % width) for place in range(width)]
        least = int(self.structure is Structure.PW_DW)
        if self.step < width:
            for rich, poor in zip(range(0, width - 1, 4), range(1, width, 4), strict=False):
                if block[poor] > least and block[rich] < ranks:
                    block[rich], block[poor] = block[rich] + 1, block[poor] - 1
        return tuple(block) * groups


def separable_kernel_macs(site: Site, structure: Structure) -> int:
    """Return the multiply-accumulates of one depthwise kernel for one image, its part of the pointwise one included.

    The depthwise convolution is computed where the dense one is. The pointwise one is computed for each position of
    the output in ``dw_pw`` and of the input in ``pw_dw``: with a stride above 1 that is far more for a convolution,
    and far less for a transposed one.
    """
    module, groups = site.module, site.module.groups
    if structure is Structure.DW_PW:
        pointwise = site.output_positions * (module.out_channels // groups)
    else:
        pointwise = site.input_positions * (module.in_channels // groups)
    return site.positions * math.prod(module.kernel_size) + pointwise


def separable_candidate(site: Site, structure: Structure, options: CandidateOptions) -> SeparableCandidate:
    """Decompose the kernel of a layer and rank its depthwise kernels by the energy that each keeps.

    Args:
        site: The layer.
        structure: ``dw_pw`` or ``pw_dw``.
        options: What else the candidate depends on.

    Raises:
        ConversionError: The weight is not finite.
    """
    groups = site.module.groups
    spectrum = channel_spectrum(site.dense_kernel, groups, structure, options.weighting)
    energies, step = spectrum.energies, 1
    if not options.is_trained:
        energies, step = energies.mean(0, keepdim=True).expand_as(energies), len(energies) // groups
    priorities = energies.clone()
    if structure is Structure.PW_DW:
        priorities[:, 0] += 1 + 2 * energies.max()
    # Stable, so that of equal values the lower place comes first and a channel's kernels stay a prefix.
    ranking = priorities.reshape(groups, -1).argsort(dim=1, descending=True, stable=True)
    candidate = SeparableCandidate(site, structure, spectrum, energies, ranking, step, options)
    return candidate._uniform() if options.one_kernel else candidate


def factorize_separable(request: FactorRequest, structure: Structure) -> Factors:
    """Return the factors of a depthwise-separable layer."""
    factorize = METHODS[request.method].separable
    kernel, groups, kernels = request.kernel, request.groups, request.kernels
    return factorize(kernel, groups, kernels, request.generator, structure, request.weighting, request.spectrum)


def build_separable(dense: Convolution, replacement: Replacement, *, norm_between: bool) -> DepthwiseSeparableConv:
    """Build the layer that replaces a convolution, with random weights."""
    build = separable_class_of(dense).like
    return build(dense, replacement.kernels, replacement.structure, replacement.form, norm_between=norm_between)


DW_PW = StructureSpec(
    make_candidate=lambda site, options: separable_candidate(site, Structure.DW_PW, options),
    factorize=lambda request: factorize_separable(request, Structure.DW_PW),
    build_layer=build_separable,
    channels=lambda dense: ("input channels", dense.in_channels),
)
PW_DW = StructureSpec(
    make_candidate=lambda site, options: separable_candidate(site, Structure.PW_DW, options),
    factorize=lambda request: factorize_separable(request, Structure.PW_DW),
    build_layer=build_separable,
    channels=lambda dense: ("output channels", dense.out_channels),
)
