"""Learning-rate range test: train with a rate that increases at every step, and observe the loss (Smith 2017).

Cyclical Learning Rates for Training Neural Networks, section 3.3.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsft.errors import TrainingError
from dsft.progress import Advanced, Finished, Report, Started, ignore
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.determinism import reproducible
from dsft.training.setup import TrainingSetup
from dsft.training.train_step import TrainStep

_TASK = "learning-rate range test"
_DIVERGED = 4.0  # times the lowest loss so far
_MIN_STEPS = 10  # before a loss can count as diverged: the first ones are noisy
_MIN_DECREASE = 0.02  # of the first loss; less is noise


@dataclass(frozen=True)
class RangeTest:
    """Result of a range test, one value per step.

    Attributes:
        rates: Learning rates, increasing.
        losses: Loss of the step's images before the update, in nats.
        smoothed: The smoothed losses.
        suggestion: A learning rate to train with; None if the loss never decreased.
        lowest: The rate at which the smoothed loss was lowest.
        diverged: Whether the test ended because the loss diverged, as it should; if not, ``high`` was too low.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    lowest: float
    diverged: bool


def run_range_test(
    setup: TrainingSetup,
    loader: TrainingLoader,
    *,
    low: float,
    high: float,
    steps: int,
    report: Report = ignore,
) -> RangeTest:
    """Train for some steps with a rate that grows exponentially from ``low`` to ``high``.

    Nothing is frozen, and there is no moving average. The test ends early when the loss has diverged.

    Args:
        setup: The network, whose weights change, and its hyperparameters; learning rate, schedule, freezing phases and
            moving average are ignored.
        loader: The training split; it is repeated as often as needed.
        low: Rate of the first step.
        high: Rate of the last step.
        steps: Maximum number of steps, at least 2.
        report: Receives every step.

    Raises:
        TrainingError: There is no batch, the first loss is not finite, or the device fails.
    """
    settings = dataclasses.replace(setup.settings, freeze=(), ema=None)
    setup = dataclasses.replace(setup, settings=settings)
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    with reproducible(settings.seed, setup.compute.device, deterministic=settings.deterministic):
        train_step = TrainStep(setup, steps_per_epoch=steps, report=report)
        train_step.use_rates(rates)
        report(Started(_TASK, steps, "steps"))
        try:
            for step, batches in enumerate(itertools.islice(_batches(loader, settings.grad_accum), steps)):
                losses.append(train_step.run(step, batches).item())
                report(Advanced(_TASK, step + 1, {"loss": losses[-1], "lr": rates[step]}))
                if _has_diverged(losses):
                    break
        finally:
            train_step.close()
            report(Finished(_TASK))
    return _summarize(rates, losses)


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the loss decreases fastest, or None if it does not decrease, or most at the first rate.

    There a step reduces the loss most, and the rate is well below that at which training becomes unstable.

    Args:
        rates: Increasing.
        losses: Smoothed.
    """
    curve = np.asarray(losses)
    bottom = int(curve.argmin())
    if bottom == 0 or curve[0] - curve[bottom] < _MIN_DECREASE * abs(curve[0]):
        return None
    slope = np.gradient(curve, np.log(rates[: len(curve)]))
    steepest = int(slope[: bottom + 1].argmin())
    # A loss that falls most at the first rate is noise, or the range begins too high.
    return rates[steepest] if steepest > 0 else None


def _batches(loader: TrainingLoader, size: int) -> Iterator[list[TrainingBatch]]:
    """Yield the batches of each step, for any number of epochs."""
    for epoch in itertools.count():
        batches, has_any = loader.epoch(epoch), False
        while group := list(itertools.islice(batches, size)):
            has_any = True
            yield group
        if not has_any:
            raise TrainingError("the train split gives no batch. Give it at least one readable example.")


def _has_diverged(losses: Sequence[float]) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    return len(losses) > _MIN_STEPS and float(np.mean(losses[-3:])) > _DIVERGED * min(losses)


def _summarize(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    diverged = _has_diverged(losses)
    finite = list(itertools.takewhile(math.isfinite, losses))
    if len(finite) < 2:
        raise TrainingError(
            f"the loss must be finite, found {losses[:2]!r} at the first steps of the range test. Start with a "
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
    """Average over neighbours on both sides: a running average lags behind, and would suggest a higher rate."""
    width = max(len(losses) / 25, 1.0)
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / width) ** 2)
    averages: NDArray[np.float64] = weights @ losses / weights.sum(axis=1)
    return averages
