"""Fitting a converted network to the original on calibration data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from dsft.conversion.factorization import Weighting
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.reconstruction.bn_recalibration import hold_out, recalibrate_batchnorm
from dsft.conversion.reconstruction.layerwise import reconstruct_layers
from dsft.conversion.reconstruction.recovery import Recovery, recover_network, set_aside
from dsft.conversion.words import Auto
from dsft.measure.example import ExampleInput
from dsft.progress import Report, ignore

RECOVERY_TIME = 2.0
"""Largest time of a recovery whose number of steps is ``auto``, relative to that of the conversion before it."""


@dataclass(frozen=True)
class Reconstruction:
    """What the fit of a converted network did.

    Attributes:
        plan: The plan with the relative errors of the layers' outputs that remain.
        recovery: What the recovery did; None without one.
    """

    plan: ConversionPlan
    recovery: Recovery | None = None


def reconstruct_network(
    original: nn.Module,
    converted: nn.Module,
    plan: ConversionPlan,
    batches: Sequence[ExampleInput],
    weightings: Mapping[str, Weighting],
    report: Report = ignore,
    *,
    recover: int | Auto | None = None,
    seed: int = 0,
    started: float | None = None,
) -> Reconstruction:
    """Fit the layers of a converted network to the outputs of the original, then its batch norms; in place.

    Args:
        original: The dense network.
        converted: The converted copy.
        plan: Its plan.
        batches: Calibration data.
        weightings: The cost of changing each layer's kernel, by name.
        report: Receives the progress.
        recover: Steps of the recovery that follows; ``auto`` for as many as bring something within twice the time of
            the conversion before it, None for no recovery. It sets some inputs aside, which nothing is fitted to.
        seed: Seed of the recovery.
        started: When the conversion began, by ``time.monotonic``; None for now.

    Raises:
        ConversionError: A layer has NaN or infinite values on the calibration data.
    """
    if not plan.converted:
        return Reconstruction(plan)
    started = time.monotonic() if started is None else started
    given, judged = (batches, []) if recover is None else set_aside(batches)
    fitted, held_out = hold_out(given)
    errors = reconstruct_layers(original, converted, plan, fitted, weightings, report)
    recalibrate_batchnorm(original, converted, fitted, held_out, report)
    layers = [replace(layer, relative_error=errors.get(layer.name, layer.relative_error)) for layer in plan.layers]
    plan = replace(plan, layers=tuple(layers))
    if recover is None:
        return Reconstruction(plan)
    steps, seconds = (recover if isinstance(recover, int) else None), RECOVERY_TIME * (time.monotonic() - started)
    names = [layer.name for layer in plan.converted]
    recovery = recover_network(
        original, converted, names, given, judged, steps=steps, seconds=seconds, seed=seed, report=report
    )
    return Reconstruction(plan, recovery)
