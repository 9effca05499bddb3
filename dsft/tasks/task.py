"""What a task is: everything in which one differs from another, and nothing else knows.

A network puts out one row of class scores an image (logits). The task says what they mean: which loss trains them,
which probabilities and answers they stand for, and what these are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Generator, Tensor

from dsft.choices import TaskName
from dsft.metrics import Interval, Reliability
from dsft.tasks.figures import Layout


@dataclass(frozen=True)
class CalibratedMetrics:
    """What becomes of the probabilities when the logits are divided by a temperature; the answers stay.

    Attributes:
        temperature: The divisor.
        fitted_on: The split that it was fitted on.
        ece: As in the metrics, and so are the next two.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
    """

    temperature: float
    fitted_on: str
    ece: float
    nll: float
    brier: float


class ClassScore(Protocol):
    """The scores of one class; the others are those of :attr:`Layout.classes`."""

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
    """The scores of a network on a split, whatever its task.

    Attributes:
        layout: Which scores there are beside those named here.
        split: The split's name.
        count: Images that were scored.
        skipped: Images that could not be read and were left out.
        loss: The mean loss, in nats.
        ece: Expected calibration error, a fraction.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
        calibrated: The same after temperature scaling; None where no temperature was fitted.
        per_class: The scores of every class, in the order of the class table.
    """

    @property
    def layout(self) -> Layout: ...  # noqa: D102
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
        """Return the metrics as JSON values, under the names of the attributes."""
        ...


class Scored(NamedTuple):
    """The answers of a network and the truth, in the same order.

    Attributes:
        logits: ``(images, classes)``.
        targets: As the task has them, see :meth:`Task.placeholder_targets`.
    """

    logits: Tensor
    targets: Tensor


class Chosen(NamedTuple):
    """The classes that a prediction names for one image, the most probable first, and their probabilities."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


Chooser = Callable[[Tensor], list[Chosen]]
"""From logits ``(images, classes)`` to what a prediction names, an image each."""


class Task(Protocol):
    """One task.

    Attributes:
        name: Its name in recipes and model folders.
        layout: Its scores.
        metrics: The class of its metrics, which can be read back from JSON.
        has_label_sets: An image has any number of classes, and not exactly one.
        activation: The function that makes probabilities of logits.
        calibration_axes: What a reliability diagram shows: across, upwards, and what is counted.
    """

    @property
    def name(self) -> TaskName: ...  # noqa: D102
    @property
    def layout(self) -> Layout: ...  # noqa: D102
    @property
    def metrics(self) -> type[Metrics]: ...  # noqa: D102
    @property
    def has_label_sets(self) -> bool: ...  # noqa: D102
    @property
    def activation(self) -> str: ...  # noqa: D102
    @property
    def calibration_axes(self) -> tuple[str, str, str]: ...  # noqa: D102

    def label_loss(self, logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Return the mean loss against the labels, a scalar in nats.

        Args:
            logits: ``(batch, classes)``.
            targets: As in a split, or blended, ``(batch, classes)``.
            smoothing: Label smoothing, 0 to 1.
            weights: What :meth:`class_weights` returned, or None.
        """
        ...

    def teacher_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return how far softened answers ``(batch, classes)`` are from a teacher's, a scalar in nats."""
        ...

    def sampled_loss(self, logits: Tensor, generator: Generator) -> Tensor:
        """Return the summed loss against labels drawn from the logits themselves."""
        ...

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return what the loss weighs every class with.

        Args:
            counts: Images of each class, each at least 1.
            images: All images.
            given: A weight for each class; None evens them out.
        """
        ...

    def placeholder_targets(self, images: int, num_classes: int) -> Tensor:
        """Return targets of the shape and type that a batch has."""
        ...

    def watch(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the scores that a training is watched by after every epoch, by name."""
        ...

    def score(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> Metrics:
        """Return all the scores of a network on a split."""
        ...

    def calibrate(self, logits: Tensor, targets: Tensor, temperature: float, fitted_on: str) -> CalibratedMetrics:
        """Return what the probabilities are worth when the logits are divided by a temperature."""
        ...

    def fit_temperature(self, logits: Tensor, targets: Tensor) -> float:
        """Return the temperature with the least negative log-likelihood."""
        ...

    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """Return how often the network is right by how sure it is."""
        ...

    def confusion(self, logits: Tensor, targets: Tensor) -> Tensor | None:
        """Return which classes are taken for which ``(classes, classes)``; None where that cannot be said."""
        ...

    def decide(self, logits: Tensor) -> Tensor:
        """Return the answers, in the form of targets."""
        ...

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether the answer to each image is wholly right ``(images,)``, bool."""
        ...

    def margin(self, logits: Tensor) -> Tensor:
        """Return by how much a logit can change before the answer to each image may be another ``(images,)``."""
        ...

    def difference_interval(self, first: Scored, second: Scored) -> Interval:
        """Return the 95 % confidence interval of ``second - first`` in the main score, on the same images."""
        ...

    def name_answers(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the answer to each image in words, and the probability that the network gives it."""
        ...

    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the truth about each image, in words as those of answers."""
        ...

    def chooser(self, top_k: int | None, threshold: float | None) -> Chooser:
        """Return how a prediction chooses the classes that it names.

        Args:
            top_k: So many of the most probable.
            threshold: Those with a probability above it, 0 to 1.

        Raises:
            InputError: The task has no use for one of the two.
        """
        ...
