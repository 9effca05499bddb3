"""The maths of deriving separable weights: dense kernels in, factors out, no modules; one method a file."""

from dsft.choices import Method
from dsft.conversion.factorization.factors import Derivation, Factors
from dsft.conversion.factorization.fresh import fresh_factors
from dsft.conversion.factorization.low_rank import (
    LOW_RANK_DERIVATIONS,
    LowRankFactors,
    fresh_low_rank,
    matrix_energies,
    svd_low_rank,
)
from dsft.conversion.factorization.regression_target import Sample, Target
from dsft.conversion.factorization.ridge import Fit, fit_linear, regress
from dsft.conversion.factorization.spectrum import Spectrum, channel_spectrum
from dsft.conversion.factorization.svd import svd_factors
from dsft.conversion.factorization.weighting import Weighting

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
