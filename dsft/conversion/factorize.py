"""The factors of every layer that a plan converts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dsft.conversion.discovery.dense_kernel import dense_kernel, find_convolution
from dsft.conversion.factorization import METHODS, AnyFactors, ChannelSpectrum, Weighting
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.structures import STRUCTURES, FactorRequest
from dsft.errors import ConversionError
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task


def factorize_layers(
    model: nn.Module,
    plan: ConversionPlan,
    *,
    seed: int = 0,
    weightings: Mapping[str, Weighting] | None = None,
    spectra: Mapping[str, ChannelSpectrum] | None = None,
    report: Report = ignore,
) -> dict[str, AnyFactors]:
    """Derive the factors of every layer that a plan converts.

    Args:
        model: The dense network.
        plan: Its plan.
        seed: Seed of random factors.
        weightings: The cost of changing each layer's kernel, by name; None to count every number of a kernel alike.
        spectra: The decompositions of the kernels in the structures of the plan, by name, as far as they are known.
        report: Receives the progress over the layers.

    Returns:
        The factors by the names of the layers.

    Raises:
        ConversionError: The plan was made for another network, or needs weightings, or a weight is not finite.
    """
    if METHODS[plan.method].needs_calibration and weightings is None:
        raise ConversionError(
            f"method {plan.method}: fits the weights to calibration data, found none. Pass calibration to "
            "dsft.factorize, or plan with method=svd, which needs no data."
        )
    generator = torch.Generator().manual_seed(seed)
    factors: dict[str, AnyFactors] = {}
    summary = f"factorized {plural(len(plan.converted), 'layer')} by {plan.method}"
    with report_task(report, "factorizing layers", len(plan.converted), "layers", summary) as advance:
        for done, layer in enumerate(plan.converted, start=1):
            dense = find_convolution(model, layer.name)
            factors[layer.name] = STRUCTURES[layer.replacement.structure].factorize(
                FactorRequest(
                    method=plan.method,
                    kernel=dense_kernel(dense),
                    groups=dense.groups,
                    kernels=layer.kernels,
                    generator=generator,
                    weighting=(weightings or {}).get(layer.name),
                    spectrum=(spectra or {}).get(layer.name),
                )
            )
            advance(done)
    return factors
