"""What an evaluation finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from torch import Tensor

from dsft.metrics import Reliability
from dsft.tasks import CLASSIFICATION, CalibratedMetrics, Metrics, Scored, Task


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A network's answers on a split, and what they are worth.

    Attributes:
        logits: The answers ``(images, classes)``, float32, on the CPU.
        targets: The truth about each image, as the task has it.
        positions: Index within the split of every row ``(images,)``, int64; skipped images have no row.
        classes: The class table, in the order of the logits.
        split_name: Name of the split.
        skipped: Images that could not be read.
        task: What the logits mean.
        calibrated: What the probabilities are worth at a temperature, where one was fitted.
    """

    logits: Tensor
    targets: Tensor
    positions: Tensor
    classes: Sequence[str]
    split_name: str
    skipped: int
    task: Task = CLASSIFICATION
    calibrated: CalibratedMetrics | None = None

    @cached_property
    def metrics(self) -> Metrics:
        """All the scores."""
        return self.task.score(
            *self.scored,
            classes=self.classes,
            split_name=self.split_name,
            skipped=self.skipped,
            calibrated=self.calibrated,
        )

    @cached_property
    def watched(self) -> dict[str, float]:
        """The scores that a training is watched by, which are quicker to have than all."""
        return self.task.watch(*self.scored)

    @property
    def main_score(self) -> float:
        """The score that models are compared by."""
        return self.watched[self.task.layout.main.name]

    @property
    def scored(self) -> Scored:
        """The answers and the truth."""
        return Scored(self.logits, self.targets)

    @property
    def right(self) -> Tensor:
        """Whether the answer to each image is wholly right ``(images,)``, bool."""
        return self.task.right(*self.scored)

    @property
    def confusion(self) -> Tensor | None:
        """Counts ``(classes, classes)``, int64: rows are truths, columns predictions; None where there is no such."""
        return self.task.confusion(*self.scored)

    @property
    def reliability(self) -> Reliability:
        """How often the network is right by how sure it is."""
        return self.task.reliability(*self.scored)

    @property
    def scaled_reliability(self) -> Reliability | None:
        """The same at the temperature, where one was fitted."""
        if self.calibrated is None:
            return None
        return self.task.reliability(self.logits.double() / self.calibrated.temperature, self.targets)

    def name_answers(self) -> list[tuple[str, str, float]]:
        """Return of each image the truth and the answer in words, and the probability that the network gives it."""
        truths = self.task.name_targets(self.targets, self.classes)
        answers = self.task.name_answers(self.logits, self.classes)
        return [(truth, *answer) for truth, answer in zip(truths, answers, strict=True)]

    def at_temperature(self, temperature: float, fitted_on: str) -> Self:
        """Return the evaluation with the scores that its probabilities have at a temperature.

        Args:
            temperature: What :meth:`dsft.tasks.Task.fit_temperature` found.
            fitted_on: The split that it was fitted on.
        """
        return replace(self, calibrated=self.task.calibrate(*self.scored, temperature, fitted_on))
