"""The maths of deriving separable weights: dense kernels in, factors out, no modules; one method a file."""

from dsft.choices import Method
from dsft.derive.factors import Derivation, Factors
from dsft.derive.fresh import fresh_factors
from dsft.derive.spectrum import Spectrum, channel_spectrum
from dsft.derive.svd import svd_factors

DERIVATIONS: dict[Method, Derivation] = {Method.FRESH: fresh_factors, Method.SVD: svd_factors}

__all__ = [
    "DERIVATIONS",
    "Derivation",
    "Factors",
    "Spectrum",
    "channel_spectrum",
    "fresh_factors",
    "svd_factors",
]
