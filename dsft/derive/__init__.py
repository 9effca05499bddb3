"""The maths of deriving separable weights: dense kernels in, factors out, no modules; one method a file."""

from dsft.choices import Method
from dsft.derive.factors import Derivation, Factors
from dsft.derive.fresh import fresh_factors
from dsft.derive.low_rank import (
    LOW_RANK_DERIVATIONS,
    LowRankFactors,
    fresh_low_rank,
    matrix_energies,
    svd_low_rank,
)
from dsft.derive.spectrum import Spectrum, channel_spectrum
from dsft.derive.svd import svd_factors

AnyFactors = Factors | LowRankFactors

DERIVATIONS: dict[Method, Derivation] = {Method.FRESH: fresh_factors, Method.SVD: svd_factors}

__all__ = [
    "DERIVATIONS",
    "LOW_RANK_DERIVATIONS",
    "AnyFactors",
    "Derivation",
    "Factors",
    "LowRankFactors",
    "Spectrum",
    "channel_spectrum",
    "fresh_factors",
    "fresh_low_rank",
    "matrix_energies",
    "svd_factors",
    "svd_low_rank",
]
