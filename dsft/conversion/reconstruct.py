"""Fitting a converted network to the original on calibration data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from dsft.conversion.factorization import Weighting
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.reconstruction.bn_recalibration import hold_out, recalibrate_batchnorm
from dsft.conversion.reconstruction.layerwise import reconstruct_layers
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore


def reconstruct_network(
    original: nn.Module,
    converted: nn.Module,
    plan: ConversionPlan,
    batches: Sequence[ExampleInput],
    weightings: Mapping[str, Weighting],
    report: Report = ignore,
) -> ConversionPlan:
    """Fit the layers of a converted network to the outputs of the original, then its batch norms; in place.

    Args:
        original: The dense network.
        converted: The converted copy.
        plan: Its plan.
        batches: Calibration data.
        weightings: The cost of changing each layer's kernel, by name.
        report: Receives the progress.

    Returns:
        The plan with the relative errors of the layers' outputs that remain.

    Raises:
        ConversionError: A layer has NaN or infinite values on the calibration data.
    """
    if not plan.converted:
        return plan
    fitted, held_out = hold_out(batches)
    errors = reconstruct_layers(original, converted, plan, fitted, weightings, report)
    recalibrate_batchnorm(original, converted, fitted, held_out, report)
    layers = [replace(layer, relative_error=errors.get(layer.name, layer.relative_error)) for layer in plan.layers]
    return replace(plan, layers=tuple(layers))
