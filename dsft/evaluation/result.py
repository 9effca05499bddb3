"""The result of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from torch import Tensor

from dsft.metrics import Reliability
from dsft.tasks import CLASSIFICATION, CalibratedMetrics, LabelledLogits, Metrics, Task


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outputs of a network on a split, and their metrics.

    Attributes:
        logits: The outputs ``(images, classes)``, float32, on the CPU.
        targets: In the representation of the task.
        positions: Position of every row in the split ``(images,)``, int64; skipped images have no row.
        classes: The class table, in the order of the logits.
        split_name: Name of the split.
        skipped: Number of unreadable images.
        task: The task of the network.
        calibrated: The metrics after temperature scaling; None if no temperature was fitted.
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
        """All metrics."""
        return self.task.scorer.compute_metrics(
            *self.labelled_logits,
            classes=self.classes,
            split_name=self.split_name,
            skipped=self.skipped,
            calibrated=self.calibrated,
        )

    @cached_property
    def monitored(self) -> dict[str, float]:
        """The metrics that are monitored during training, which are faster to compute than all."""
        return self.task.scorer.monitored_metrics(*self.labelled_logits)

    @property
    def main_score(self) -> float:
        """The main metric, by which models are compared."""
        return self.monitored[self.task.scorer.layout.main.name]

    @property
    def labelled_logits(self) -> LabelledLogits:
        """Logits and targets."""
        return LabelledLogits(self.logits, self.targets)

    @property
    def is_correct(self) -> Tensor:
        """Whether the prediction for each image is entirely correct ``(images,)``, bool."""
        return self.task.scorer.is_correct(*self.labelled_logits)

    @property
    def confusion_matrix(self) -> Tensor | None:
        """Counts ``(classes, classes)``, int64, of targets (rows) and predictions (columns); None if undefined."""
        return self.task.scorer.confusion_matrix(*self.labelled_logits)

    @property
    def reliability(self) -> Reliability:
        """The accuracy as a function of the predicted probability."""
        return self.task.scorer.reliability(*self.labelled_logits)

    @property
    def scaled_reliability(self) -> Reliability | None:
        """The same after temperature scaling; None if no temperature was fitted."""
        if self.calibrated is None:
            return None
        return self.task.scorer.reliability(self.logits.double() / self.calibrated.temperature, self.targets)

    def name_predictions(self) -> list[tuple[str, str, float]]:
        """Return target and prediction of each image as text, and the probability of the prediction."""
        targets = self.task.view.name_targets(self.targets, self.classes)
        predictions = self.task.view.name_predictions(self.logits, self.classes)
        return [(target, *prediction) for target, prediction in zip(targets, predictions, strict=True)]

    def at_temperature(self, temperature: float, fitted_on: str) -> Self:
        """Return the evaluation with the metrics after temperature scaling.

        Args:
            temperature: The result of :meth:`dsft.tasks.Scorer.fit_temperature`.
            fitted_on: The split that it was fitted on.
        """
        scaled = self.task.scorer.calibrated_metrics(*self.labelled_logits, temperature, fitted_on)
        return replace(self, calibrated=scaled)
