"""The learning-rate range test: train with a rate that rises at every step, and watch the loss (Smith 2017)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dsft.devices import Compute
from dsft.errors import TrainingError
from dsft.progress import Advanced, Finished, Report, Started, ignore
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.determinism import reproducible
from dsft.training.settings import FitSettings
from dsft.training.train_step import Learner

_TASK = "learning-rate range test"
_DIVERGED = 4.0  # times the lowest loss so far
_FEWEST = 10  # steps before a loss counts as diverged: the first ones are noise
_LEAST_FALL = 0.02  # of the first loss; less is noise


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw, a value a step.

    Attributes:
        rates: Learning rates, rising.
        losses: Loss of the step's images before the update, in nats.
        smoothed: The losses without their noise.
        suggestion: A rate to train with; None where the loss never fell.
        lowest: The rate at which the smoothed loss was lowest.
        diverged: The test ended because the loss blew up, as it should; otherwise its highest rate was too low.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    lowest: float
    diverged: bool


def run_range_test(
    module: nn.Module,
    loader: TrainingLoader,
    *,
    settings: FitSettings,
    compute: Compute,
    low: float,
    high: float,
    steps: int,
    teacher: nn.Module | None = None,
    head: Collection[str] = (),
    converted: Collection[str] = (),
    report: Report = ignore,
) -> RangeTest:
    """Train for some steps with a rate that grows from ``low`` to ``high`` by a factor that is always the same.

    Everything trains from the start, and no average is kept. The test ends early when the loss has blown up.

    Args:
        module: The network; its weights change.
        loader: The training split; it is gone through as often as needed.
        settings: How to train; its rate, schedule, phases and average are left aside.
        compute: Where, and in which number format.
        low: Rate of the first step.
        high: Rate of the last step.
        steps: Most steps, at least 2.
        teacher: The network to learn from.
        head: Names of the parameters of the classifier heads.
        converted: Names of the parameters of converted layers.
        report: Told of every step.

    Raises:
        TrainingError: There is no batch, the first loss is not finite, or the device failed.
    """
    settings = dataclasses.replace(settings, freeze=(), ema=None)
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    with reproducible(settings.seed, compute.device, deterministic=settings.deterministic):
        learner = Learner(
            module, teacher, settings, compute, steps_per_epoch=steps, head=head, converted=converted, report=report
        )
        learner.use_rates(rates)
        report(Started(_TASK, steps, "steps"))
        try:
            for step, batches in enumerate(itertools.islice(_batches(loader, settings.grad_accum), steps)):
                losses.append(learner.update(step, batches))
                report(Advanced(_TASK, step + 1, {"loss": losses[-1], "lr": rates[step]}))
                if _has_diverged(losses):
                    break
        finally:
            learner.finish()
            report(Finished(_TASK))
    return _sum_up(rates, losses)


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which a smooth curve of losses falls fastest, or None where it does not fall.

    That is where a step gains most, and well below the rate at which training becomes unstable.

    Args:
        rates: Rising.
        losses: Without noise.
    """
    curve = np.asarray(losses)
    bottom = int(curve.argmin())
    if bottom == 0 or curve[0] - curve[bottom] < _LEAST_FALL * abs(curve[0]):
        return None
    slope = np.gradient(curve, np.log(rates[: len(curve)]))
    return rates[int(slope[: bottom + 1].argmin())]


def _batches(loader: TrainingLoader, size: int) -> Iterator[list[TrainingBatch]]:
    """Yield the batches of each step, epoch after epoch."""
    for epoch in itertools.count():
        batches, has_any = loader.epoch(epoch), False
        while group := list(itertools.islice(batches, size)):
            has_any = True
            yield group
        if not has_any:
            raise TrainingError("the train split gives no batch. Give it at least one readable image.")


def _has_diverged(losses: Sequence[float]) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    return len(losses) > _FEWEST and float(np.mean(losses[-3:])) > _DIVERGED * min(losses)


def _sum_up(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    diverged = _has_diverged(losses)
    finite = list(itertools.takewhile(math.isfinite, losses))
    if len(finite) < 2:
        raise TrainingError(
            f"the loss must be finite, found {losses[:2]!r} at the first steps of the range test. Begin with a "
            "lower rate (--low), or set train.amp=none."
        )
    smoothed = _smooth(np.asarray(finite))
    return RangeTest(
        rates=tuple(rates[: len(finite)]),
        losses=tuple(finite),
        smoothed=tuple(smoothed.tolist()),
        suggestion=suggest_rate(rates, smoothed.tolist()),
        lowest=rates[int(smoothed.argmin())],
        diverged=diverged,
    )


def _smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over neighbours on both sides: a running average lags, and would suggest a higher rate."""
    width = max(len(losses) / 25, 1.0)
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / width) ** 2)
    averages: NDArray[np.float64] = weights @ losses / weights.sum(axis=1)
    return averages
