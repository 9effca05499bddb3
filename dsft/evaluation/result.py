"""The result of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsft.errors import InputError
from dsft.metrics import Reliability
from dsft.tasks import CLASSIFICATION, CalibratedMetrics, LabelParts, Metrics, Rows, Task


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image that was evaluated, with pictures of it.

    Attributes:
        position: Its position in the split.
        score: See :meth:`dsft.tasks.Scorer.image_scores`.
        pictures: ``(height, width)`` or ``(height, width, 3)``, by caption.
    """

    position: int
    score: float
    pictures: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outputs of a network on a split, and their metrics.

    Attributes:
        outputs: The outputs of each image as the task keeps them, see :meth:`dsft.tasks.Scorer.reduce`.
        targets: The targets likewise.
        positions: Position of every row in the split ``(images,)``, int64; skipped images have no row.
        classes: The class table, in the order of the outputs.
        split_name: Name of the split.
        skipped: Number of unreadable images.
        task: The task of the network.
        calibrated: The metrics after temperature scaling; None if no temperature was fitted.
        worst: The images with the lowest scores, the lowest first; empty for tasks that display mistakes instead.
    """

    outputs: Tensor
    targets: Tensor
    positions: Tensor
    classes: Sequence[str]
    split_name: str
    skipped: int
    task: Task = CLASSIFICATION
    calibrated: CalibratedMetrics | None = None
    worst: tuple[SeenImage, ...] = ()

    @cached_property
    def metrics(self) -> Metrics:
        """All metrics."""
        return self.task.scorer.compute_metrics(
            *self.rows,
            classes=self.classes,
            split_name=self.split_name,
            skipped=self.skipped,
            calibrated=self.calibrated,
        )

    @cached_property
    def monitored(self) -> dict[str, float]:
        """The metrics that are monitored during training, which are faster to compute than all."""
        return self.task.scorer.monitored_metrics(*self.rows)

    @property
    def main_score(self) -> float:
        """The main metric, by which models are compared."""
        return self.monitored[self.task.scorer.layout.main.name]

    @property
    def rows(self) -> Rows:
        """Outputs and targets."""
        return Rows(self.outputs, self.targets)

    @property
    def labels(self) -> LabelParts:
        """The parts of a task that assigns a class or labels to an image.

        Raises:
            InputError: It is another task.
        """
        if self.task.labels is None:
            raise InputError(
                f"task {self.task.name}: has no probabilities of a class or of labels. Leave the option out that needs "
                "them."
            )
        return self.task.labels

    @property
    def is_correct(self) -> Tensor:
        """Whether the prediction for each image is entirely correct ``(images,)``, bool."""
        return self.labels.scorer.is_correct(*self.rows)

    @property
    def confusion_matrix(self) -> Tensor | None:
        """Counts ``(classes, classes)``, int64, of targets (rows) and predictions (columns); None if undefined."""
        return self.task.scorer.confusion_matrix(*self.rows)

    @property
    def reliability(self) -> Reliability:
        """The accuracy as a function of the predicted probability."""
        return self.labels.scorer.reliability(*self.rows)

    @property
    def scaled_reliability(self) -> Reliability | None:
        """The same after temperature scaling; None if no temperature was fitted."""
        if self.calibrated is None:
            return None
        return self.labels.scorer.reliability(self.outputs.double() / self.calibrated.temperature, self.targets)

    def name_predictions(self) -> list[tuple[str, str, float]]:
        """Return target and prediction of each image as text, and the probability of the prediction."""
        view = self.labels.view
        targets, predictions = (
            view.name_targets(self.targets, self.classes),
            view.name_predictions(self.outputs, self.classes),
        )
        return [(target, *prediction) for target, prediction in zip(targets, predictions, strict=True)]

    def at_temperature(self, temperature: float, fitted_on: str) -> Self:
        """Return the evaluation with the metrics after temperature scaling.

        Args:
            temperature: The result of :meth:`dsft.tasks.LabelScorer.fit_temperature`.
            fitted_on: The split that it was fitted on.
        """
        scaled = self.labels.scorer.calibrated_metrics(*self.rows, temperature, fitted_on)
        return replace(self, calibrated=scaled)
