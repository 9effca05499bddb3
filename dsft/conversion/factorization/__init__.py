"""Factorization of dense kernels: tensors in, tensors out, without modules; one method a file."""

from collections.abc import Mapping

from dsft.choices import Method
from dsft.conversion.factorization.channel_svd import ChannelSpectrum, channel_spectrum, require_finite
from dsft.conversion.factorization.cp_decomposition import decomposition_errors, exact_width
from dsft.conversion.factorization.factors import (
    AnyFactors,
    FactorizationMethod,
    Factors,
    LowRankFactors,
    PwDwPwFactors,
)
from dsft.conversion.factorization.fresh import FRESH
from dsft.conversion.factorization.matrix_svd import matrix_energies
from dsft.conversion.factorization.refit import REFIT
from dsft.conversion.factorization.regression_target import LayerSamples, RegressionTarget
from dsft.conversion.factorization.ridge import LinearFit, ridge_regression
from dsft.conversion.factorization.svd import SVD
from dsft.conversion.factorization.weighting import Weighting

METHODS: Mapping[Method, FactorizationMethod] = {Method.FRESH: FRESH, Method.SVD: SVD, Method.REFIT: REFIT}
"""The methods by name, with what each of them needs."""

__all__ = [
    "METHODS",
    "AnyFactors",
    "ChannelSpectrum",
    "FactorizationMethod",
    "Factors",
    "LayerSamples",
    "LinearFit",
    "LowRankFactors",
    "PwDwPwFactors",
    "RegressionTarget",
    "Weighting",
    "channel_spectrum",
    "decomposition_errors",
    "exact_width",
    "matrix_energies",
    "require_finite",
    "ridge_regression",
]
