"""What the tasks have in common that assign one class or several labels to a whole image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsft.metrics import Reliability
from dsft.tasks.metrics import CalibratedMetrics, Rows
from dsft.tasks.outputs import split_outputs


class ImageLabelCodec:
    """A part of :class:`dsft.tasks.Codec`: the outputs are logits ``(images, classes)``."""

    output_name: ClassVar = "logits"
    input_defaults: ClassVar[Mapping[str, Any]] = {}

    def training_inputs(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the images."""
        del targets
        return (images,)

    def split_outputs(self, output: object) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See :func:`dsft.tasks.split_outputs`."""
        return split_outputs(output)

    def output_shape(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, ...]:
        """Return ``(batch, classes)``."""
        return (input_shape[0], num_classes)


class ImageLabelScorer(ABC):
    """A part of :class:`dsft.tasks.Scorer`: rows hold the logits and the targets."""

    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """Return the predictions in the representation of the targets."""

    @abstractmethod
    def is_correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether the prediction for each image is entirely correct ``(images,)``, bool."""

    @abstractmethod
    def average(self, logits: Tensor) -> Tensor:
        """Return logits ``(images, classes)`` whose probabilities are the mean of ``(views, images, classes)``."""

    @abstractmethod
    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """Return the accuracy as a function of the predicted probability."""

    @abstractmethod
    def negative_log_likelihood(self, logits: Tensor, targets: Tensor) -> float:
        """Return the mean negative log-likelihood of the targets, in nats."""

    @abstractmethod
    def brier_score(self, logits: Tensor, targets: Tensor) -> float:
        """Return the mean squared error of the probabilities."""

    def calibrated_metrics(
        self, logits: Tensor, targets: Tensor, temperature: float, fitted_on: str
    ) -> CalibratedMetrics:
        """Return the metrics of the probabilities after temperature scaling."""
        scaled = logits.double() / temperature
        return CalibratedMetrics(
            temperature,
            fitted_on,
            ece=self.reliability(scaled, targets).error,
            nll=self.negative_log_likelihood(scaled, targets),
            brier=self.brier_score(scaled, targets),
        )

    def reduce(self, outputs: Tensor, targets: Tensor) -> Rows:
        """Keep the logits, in float32."""
        return Rows(outputs.float().cpu(), targets.cpu())

    def image_scores(self, outputs: Tensor, targets: Tensor) -> None:
        """Return None: mistakes are displayed instead of the worst images."""
        del outputs, targets

    def align(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return ``found`` unchanged."""
        del expected
        return found

    def agrees(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return whether both make the same prediction for an image."""
        return self.is_correct(found, self.predict(expected))


class ImageLabelView(ABC):
    """A part of :class:`dsft.tasks.View`: predictions are names."""

    columns: ClassVar = ("target", "predicted", "probability")

    @abstractmethod
    def name_predictions(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the prediction for each image as text, and its probability."""

    @abstractmethod
    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the target of each image as text, in the same form as predictions."""

    def describe_images(self, rows: Rows, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return target and prediction as text, and the probability of the prediction."""
        targets = self.name_targets(rows.targets, classes)
        predictions = self.name_predictions(rows.outputs, classes)
        pairs = zip(targets, predictions, strict=True)
        return [(target, predicted, f"{probability:.6f}") for target, (predicted, probability) in pairs]

    def pictures(
        self, image: Tensor, output: Tensor, target: Tensor, classes: Sequence[str]
    ) -> Mapping[str, NDArray[np.uint8]]:
        """Return nothing: mistakes are displayed with their images."""
        del image, output, target, classes
        return {}

    def write_prediction(self, output: Tensor, size: tuple[int, int]) -> None:
        """Return None: predictions are names."""
        del output, size
