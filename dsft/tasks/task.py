"""The interface of a task: everything that differs between tasks.

The four parts of a task define the loss that trains a network (:class:`Objective`), the representation of its outputs
and targets (:class:`Codec`), the metrics (:class:`Scorer`), and how predictions are presented (:class:`View`). No other
package depends on the meaning of the outputs. Tasks that assign classes or labels to whole images can do more
(:class:`LabelScorer`, :class:`LabelView`); :attr:`Task.labels` has these parts.

An evaluation keeps one row per image (:class:`Rows`), to which :meth:`Scorer.reduce` reduces the outputs of a batch:
the logits of a classifier, or the counts of pixels of a segmentation. All metrics are functions of the rows, so rows of
several processes are simply concatenated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Generator, Tensor

from dsft.choices import PixelLoss, TargetKind, TaskName
from dsft.metrics import Interval, Reliability
from dsft.tasks.metric_specs import MetricLayout
from dsft.tasks.metrics import CalibratedMetrics, Metrics, Rows


class SelectedClasses(NamedTuple):
    """The predicted classes of an image in order of decreasing probability, and their probabilities."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


ClassSelector = Callable[[Tensor], list[SelectedClasses]]
"""Selects the predicted classes of each image from logits ``(images, classes)``."""


@dataclass(frozen=True)
class LossOptions:
    """The options of the loss against the targets; each task uses those that mean something to it.

    Attributes:
        smoothing: Label smoothing, 0 to 1.
        dice: Weight of the Dice loss beside the cross entropy.
        pixel: The distance between images.
    """

    smoothing: float = 0.0
    dice: float = 0.0
    pixel: PixelLoss = PixelLoss.L2


PLAIN_LOSS = LossOptions()


class Objective(Protocol):
    """The loss functions of a task.

    Attributes:
        auxiliary_weight: Weight of the loss of each auxiliary head.
    """

    @property
    def auxiliary_weight(self) -> float: ...  # noqa: D102

    def label_loss(self, outputs: Tensor, targets: Tensor, options: LossOptions, weights: Tensor | None) -> Tensor:
        """Return the loss with respect to the targets: a scalar, the mean of the losses of the images.

        Args:
            outputs: The main output of the network in training mode, or that of an auxiliary head.
            targets: In the representation of the task; for classes also mixed, ``(batch, classes)``.
            options: What the recipe asks for.
            weights: The result of :meth:`class_weights`, or None.
        """
        ...

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the distance of outputs from those of a teacher, a scalar."""
        ...

    def sampled_loss(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Return the summed loss with respect to targets that are sampled from the predicted distribution."""
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
    """The representation of outputs and targets.

    Attributes:
        target_kind: The kind of data that the task needs.
        output_name: Name of the output of exported files.
        input_defaults: What is assumed of the input of a network that does not state it, as timm's networks do in
            ``pretrained_cfg``.
    """

    @property
    def target_kind(self) -> TargetKind: ...  # noqa: D102
    @property
    def output_name(self) -> str: ...  # noqa: D102
    @property
    def input_defaults(self) -> Mapping[str, Any]: ...  # noqa: D102

    def training_inputs(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return what a network is called with in training mode.

        Args:
            images: ``(batch, channels, height, width)``.
            targets: In the representation of the task; None for placeholders, whose loss is not used.
        """
        ...

    def split_outputs(self, output: object) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Split what a network returns into its main output and those of its auxiliary heads.

        Raises:
            ModelError: It has another type or number of dimensions than the task needs.
        """
        ...

    def output_shape(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, ...]:
        """Return the shape of the main output for images ``(batch, channels, height, width)``."""
        ...

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return arbitrary targets with the shape and dtype of those of a batch of images."""
        ...


class Scorer(Protocol):
    """The metrics of a task; all arguments called ``outputs`` and ``targets`` are those of :class:`Rows`.

    Attributes:
        layout: The metrics and their format.
        metrics_type: The class of the metrics, which can be read from JSON.
    """

    @property
    def layout(self) -> MetricLayout: ...  # noqa: D102
    @property
    def metrics_type(self) -> type[Metrics]: ...  # noqa: D102

    def reduce(self, outputs: Tensor, targets: Tensor) -> Rows:
        """Reduce the main outputs of a batch and its targets, on the same device, to one row per image."""
        ...

    def monitored_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the metrics that are monitored during training, by name; they are fast to compute."""
        ...

    def image_scores(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return a score of each image ``(images,)``, higher is better; None if the worst images are not displayed."""
        ...

    def compute_metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> Metrics:
        """Return all metrics of a network on a split."""
        ...

    def confusion_matrix(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return the confusion matrix ``(classes, classes)``; None if it is not defined for the task."""
        ...

    def align(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return ``found`` in the order of ``expected``, where the rows of a main output have no order of their own."""
        ...

    def agrees(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return where two main outputs of a network give the same prediction ``(images, ...)``, bool."""
        ...

    def margin(self, outputs: Tensor) -> Tensor:
        """Return the change of a main output that can change a prediction, in the shape of :meth:`agrees`."""
        ...

    def difference_interval(self, first: Rows, second: Rows) -> Interval:
        """Return the 95 % confidence interval of ``second - first`` in the main metric, on the same images."""
        ...


class LabelScorer(Scorer, Protocol):
    """The metrics of a task that assigns a class or labels to an image. Rows hold logits ``(images, classes)``."""

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

    def average(self, logits: Tensor) -> Tensor:
        """Return logits ``(images, classes)`` whose probabilities are the mean of ``(views, images, classes)``."""
        ...

    def predict(self, logits: Tensor) -> Tensor:
        """Return the predictions in the representation of the targets."""
        ...

    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether the prediction for each image is entirely correct ``(images,)``, bool."""
        ...


class View(Protocol):
    """The presentation of predictions.

    Attributes:
        activation: Name of the function that converts outputs to predictions or probabilities.
        columns: The columns of ``predictions.csv``, after the image's key.
    """

    @property
    def activation(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102

    def describe_images(self, rows: Rows, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the cells of each image in ``predictions.csv``."""
        ...

    def pictures(
        self, image: Tensor, output: Tensor, target: Tensor, classes: Sequence[str]
    ) -> Mapping[str, NDArray[np.uint8]]:
        """Return pictures ``(height, width)`` or ``(height, width, 3)`` of one image, by caption.

        Args:
            image: The network's input ``(channels, height, width)``.
            output: Its main output, without the batch dimension.
            target: The target. Only tasks with :meth:`Scorer.image_scores` are asked.
            classes: The class table.
        """
        ...

    def write_prediction(self, output: Tensor, size: tuple[int, int]) -> Image | None:
        """Return the image that ``dsft predict`` writes; None if the predictions of the task are no images.

        Args:
            output: The main output for one image, without the batch dimension.
            size: Width and height of the image file.
        """
        ...


class LabelView(View, Protocol):
    """The presentation of classes or labels of images.

    Attributes:
        calibration_axes: Labels of a reliability diagram: horizontal axis, vertical axis, and histogram.
    """

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
class LabelParts:
    """The further parts of a task that assigns a class or labels to an image."""

    scorer: LabelScorer
    view: LabelView


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: Its name in recipes and model folders.
        objective: The loss functions.
        codec: The representation of targets.
        scorer: The metrics.
        view: The presentation of predictions.
        labels: What it can do further; None unless it assigns a class or labels to an image.
    """

    name: TaskName
    objective: Objective
    codec: Codec
    scorer: Scorer
    view: View
    labels: LabelParts | None = None
