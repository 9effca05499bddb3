"""Which sizes of a layer are expected to be faster than its convolution, by shapes alone.

Plans under a budget of MACs or parameters must be the same on every machine, so no clock decides what they may hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsft.conversion.discovery.sites import Site
from dsft.conversion.structures import Candidate

ELEMENT_MACS = 12.0
"""Multiply-accumulates that take as long as one element of a feature map that is written or read.

The number that explains a layer's time in ONNX Runtime varies from 3 to 80, with a median near 12: it is smaller for
wide layers and larger for small maps (one thread, AVX-512, ``tests/benchmarks/shape_rule.py``). The rule orders layers
by it; it does not predict their times."""

LARGE_ELEMENT_MACS = 40.0
"""The same where a map does not fit into the cache. With 64 channels of 96x96 and of 180x180 it was 20 to 30 in ONNX
Runtime, and 35 to 39 in torch, where the layers must not be slower either."""

CACHE_BYTES = 2 << 20
"""Size of a feature map, in float32, from which it is taken not to fit: a core's second-level cache has 1 or 2 MiB."""

EXPECTED = 0.95
"""A size is offered if it is expected to take at most this share of the convolution's time."""


def expected_faster(candidate: Candidate, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether a candidate is expected to be faster than its convolution, at numbers of steps.

    The model counts multiply-accumulates and the elements of feature maps that are written and read. It ignores the
    time that a call of an operation takes in itself, which in eager torch exceeds that of very small layers.
    """
    site = candidate.site
    kernels = steps * candidate.step_kernels
    largest = kernels * max(site.input_positions, site.output_positions)
    element_macs = np.where(4 * largest > CACHE_BYTES, LARGE_ELEMENT_MACS, ELEMENT_MACS)
    own = element_macs * own_elements(site)
    expected = own + kernels * (candidate.kernel_macs + element_macs * candidate.kernel_elements)
    is_faster: NDArray[np.bool_] = expected <= EXPECTED * (own + site.macs)
    return is_faster


def own_elements(site: Site) -> int:
    """Return the elements of a convolution's input and output for one image."""
    module = site.module
    return site.input_positions * module.in_channels + site.output_positions * module.out_channels
