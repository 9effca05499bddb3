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

EXPECTED = 0.95
"""A size is offered if it is expected to take at most this share of the convolution's time."""


def expected_faster(candidate: Candidate, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether a candidate is expected to be faster than its convolution, at numbers of steps.

    The model counts multiply-accumulates and the elements of feature maps that are written and read. It ignores the
    time that a call of an operation takes in itself, which in eager torch exceeds that of very small layers.
    """
    site = candidate.site
    kernels = steps * candidate.step_kernels
    own = ELEMENT_MACS * own_elements(site)
    expected = own + kernels * (candidate.kernel_macs + ELEMENT_MACS * candidate.kernel_elements)
    return expected <= EXPECTED * (own + site.macs)


def own_elements(site: Site) -> int:
    """Return the elements of a convolution's input and output for one image."""
    module = site.module
    return site.input_positions * module.in_channels + site.output_positions * module.out_channels
