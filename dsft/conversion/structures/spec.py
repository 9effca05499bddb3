"""What a structure consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Generator, Tensor

from dsft.choices import Method
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import AnyFactors, ChannelSpectrum, Weighting
from dsft.conversion.plan import Replacement
from dsft.conversion.structures.candidate import Candidate, CandidateOptions
from dsft.separable import FactoredConv


@dataclass(frozen=True)
class FactorRequest:
    """What the factors of one layer are made from.

    Attributes:
        method: How they are made.
        kernel: The dense kernel, ``(out_channels, in_channels / groups, *kernel_size)``.
        groups: Groups of the convolution.
        kernels: As in :class:`~dsft.conversion.plan.LayerPlan`.
        generator: Source of random numbers, on the CPU.
        weighting: The cost of changing the kernel; None to count every number of it alike.
        spectrum: The decomposition of the kernel's channels in this structure, where planning has computed it.
    """

    method: Method
    kernel: Tensor
    groups: int
    kernels: Sequence[int]
    generator: Generator
    weighting: Weighting | None = None
    spectrum: ChannelSpectrum | None = None


class LayerBuilder(Protocol):
    """Builds the layer that replaces a convolution, with random weights."""

    def __call__(self, dense: Convolution, replacement: Replacement, *, norm_between: bool) -> FactoredConv:
        """Build it with the geometry, device, data type and mode of ``dense``."""


@dataclass(frozen=True)
class StructureSpec:
    """A structure: how it is planned, factorized and built.

    Attributes:
        make_candidate: Lists the sizes of a layer in this structure, with their errors.
        factorize: Derives the factors of a layer.
        build_layer: Builds a layer.
        channels: The channels, or groups, that a plan states the kernels of: their name, and their number.
    """

    make_candidate: Callable[[Site, CandidateOptions], Candidate]
    factorize: Callable[[FactorRequest], AnyFactors]
    build_layer: LayerBuilder
    channels: Callable[[Convolution], tuple[str, int]]
