"""The interface of a task: everything that differs between tasks.

A network outputs one row of class scores per image (logits). The four parts of a task define the loss that trains them
(:class:`Objective`), the representation of targets (:class:`Codec`), the metrics (:class:`Scorer`), and how predictions
are presented (:class:`View`). No other package depends on the meaning of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Generator, Tensor

from dsft.choices import TaskName
from dsft.metrics import Interval, Reliability
from dsft.tasks.metric_specs import MetricLayout


@dataclass(frozen=True)
class CalibratedMetrics:
    """The metrics of the probabilities after temperature scaling, which does not change the predictions.

    Attributes:
        temperature: The temperature, by which the logits are divided.
        fitted_on: The split that it was fitted on.
        ece: Expected calibration error, a fraction.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
    """

    temperature: float
    fitted_on: str
    ece: float
    nll: float
    brier: float


class ClassScore(Protocol):
    """The metrics of a class; :attr:`MetricLayout.classes` lists further ones."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def precision(self) -> float: ...  # noqa: D102
    @property
    def recall(self) -> float: ...  # noqa: D102
    @property
    def f1(self) -> float: ...  # noqa: D102
    @property
    def support(self) -> int: ...  # noqa: D102


class Metrics(Protocol):
    """The metrics of a network on a split, for any task.

    Attributes:
        layout: The metrics of the task in addition to these.
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        loss: Mean loss, in nats.
        ece: Expected calibration error, a fraction.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
        calibrated: The metrics after temperature scaling; None if no temperature was fitted.
        per_class: The metrics of every class, in the order of the class table.
    """

    @property
    def layout(self) -> MetricLayout: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def skipped(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def ece(self) -> float: ...  # noqa: D102
    @property
    def nll(self) -> float: ...  # noqa: D102
    @property
    def brier(self) -> float: ...  # noqa: D102
    @property
    def calibrated(self) -> CalibratedMetrics | None: ...  # noqa: D102
    @property
    def per_class(self) -> Sequence[ClassScore]: ...  # noqa: D102

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        ...


class LabelledLogits(NamedTuple):
    """The logits and the targets of the same images.

    Attributes:
        logits: ``(images, classes)``.
        targets: In the representation of the task, see :meth:`Codec.placeholder_targets`.
    """

    logits: Tensor
    targets: Tensor


class SelectedClasses(NamedTuple):
    """The predicted classes of an image in order of decreasing probability, and their probabilities."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


ClassSelector = Callable[[Tensor], list[SelectedClasses]]
"""Selects the predicted classes of each image from logits ``(images, classes)``."""


class Objective(Protocol):
    """The loss functions of a task."""

    def label_loss(self, logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Return the mean loss with respect to the labels, a scalar in nats.

        Args:
            logits: ``(batch, classes)``.
            targets: In the representation of the task, or mixed, ``(batch, classes)``.
            smoothing: Label smoothing, 0 to 1.
            weights: The result of :meth:`class_weights`, or None.
        """
        ...

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the divergence of softened logits ``(batch, classes)`` from a teacher's, a scalar in nats."""
        ...

    def sampled_loss(self, logits: Tensor, generator: Generator) -> Tensor:
        """Return the summed loss with respect to labels that are sampled from the predicted distribution."""
        ...

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return the weight of every class in the loss.

        Args:
            counts: Number of images of each class, at least 1.
            images: Number of images.
            given: A weight for each class; None balances the classes.
        """
        ...


class Codec(Protocol):
    """The representation of targets.

    Attributes:
        has_label_sets: Whether an image has a set of labels instead of exactly one class.
    """

    @property
    def has_label_sets(self) -> bool: ...  # noqa: D102

    def placeholder_targets(self, images: int, num_classes: int) -> Tensor:
        """Return arbitrary targets with the shape and dtype of those of a batch."""
        ...


class Scorer(Protocol):
    """The metrics of a task.

    Attributes:
        layout: The metrics and their format.
        metrics_type: The class of the metrics, which can be read from JSON.
    """

    @property
    def layout(self) -> MetricLayout: ...  # noqa: D102
    @property
    def metrics_type(self) -> type[Metrics]: ...  # noqa: D102

    def monitored_metrics(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the metrics that are monitored during training, by name; they are fast to compute."""
        ...

    def compute_metrics(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> Metrics:
        """Return all metrics of a network on a split."""
        ...

    def calibrated_metrics(
        self, logits: Tensor, targets: Tensor, temperature: float, fitted_on: str
    ) -> CalibratedMetrics:
        """Return the metrics of the probabilities after temperature scaling."""
        ...

    def fit_temperature(self, logits: Tensor, targets: Tensor) -> float:
        """Return the temperature that minimises the negative log-likelihood."""
        ...

    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """Return the accuracy as a function of the predicted probability."""
        ...

    def confusion_matrix(self, logits: Tensor, targets: Tensor) -> Tensor | None:
        """Return the confusion matrix ``(classes, classes)``; None if it is not defined for the task."""
        ...

    def predict(self, logits: Tensor) -> Tensor:
        """Return the predictions in the representation of the targets."""
        ...

    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether the prediction for each image is entirely correct ``(images,)``, bool."""
        ...

    def margin(self, logits: Tensor) -> Tensor:
        """Return the change of a logit that can change the prediction for each image ``(images,)``."""
        ...

    def difference_interval(self, first: LabelledLogits, second: LabelledLogits) -> Interval:
        """Return the 95 % confidence interval of ``second - first`` in the main metric, on the same images."""
        ...


class View(Protocol):
    """The presentation of predictions.

    Attributes:
        activation: Name of the function that converts logits to probabilities.
        calibration_axes: Labels of a reliability diagram: horizontal axis, vertical axis, and histogram.
    """

    @property
    def activation(self) -> str: ...  # noqa: D102
    @property
    def calibration_axes(self) -> tuple[str, str, str]: ...  # noqa: D102

    def name_predictions(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the prediction for each image as text, and its probability."""
        ...

    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the target of each image as text, in the same form as predictions."""
        ...

    def class_selector(self, top_k: int | None, threshold: float | None) -> ClassSelector:
        """Return a function that selects the predicted classes.

        Args:
            top_k: Select this number of most probable classes.
            threshold: Select the classes with a larger probability, 0 to 1.

        Raises:
            InputError: The task does not support one of the options.
        """
        ...


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: Its name in recipes and model folders.
        objective: The loss functions.
        codec: The representation of targets.
        scorer: The metrics.
        view: The presentation of predictions.
    """

    name: TaskName
    objective: Objective
    codec: Codec
    scorer: Scorer
    view: View
