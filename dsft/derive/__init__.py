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
from dsft.derive.refit import Fit, fit_linear, regress
from dsft.derive.spectrum import Spectrum, channel_spectrum
from dsft.derive.svd import svd_factors
from dsft.derive.target import Sample, Target
from dsft.derive.weighting import Weighting

AnyFactors = Factors | LowRankFactors

DERIVATIONS: dict[Method, Derivation] = {
    Method.FRESH: fresh_factors,
    Method.SVD: svd_factors,
    # What a refit starts from.
    Method.REFIT: svd_factors,
}

__all__ = [
    "DERIVATIONS",
    "LOW_RANK_DERIVATIONS",
    "AnyFactors",
    "Derivation",
    "Factors",
    "Fit",
    "LowRankFactors",
    "Sample",
    "Spectrum",
    "Target",
    "Weighting",
    "channel_spectrum",
    "fit_linear",
    "fresh_factors",
    "fresh_low_rank",
    "matrix_energies",
    "regress",
    "svd_factors",
    "svd_low_rank",
]
