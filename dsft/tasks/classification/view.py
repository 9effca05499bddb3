"""The presentation of the predictions of classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsft.errors import InputError
from dsft.tasks.task import ClassSelector, Rows, SelectedClasses


class ClassificationView:
    """Implements :class:`dsft.tasks.View`."""

    activation: ClassVar = "softmax"
    calibration_axes: ClassVar = ("confidence (highest probability)", "accuracy (fraction correct)", "images (%)")
    columns: ClassVar = ("target", "predicted", "probability")

    def describe_images(self, rows: Rows, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return target and prediction as text, and the probability of the prediction."""
        targets = self.name_targets(rows.targets, classes)
        predictions = self.name_predictions(rows.outputs, classes)
        pairs = zip(targets, predictions, strict=True)
        return [(target, predicted, f"{probability:.6f}") for target, (predicted, probability) in pairs]

    def pictures(self, image: Tensor, output: Tensor, target: Tensor) -> Mapping[str, NDArray[np.uint8]]:
        """Return nothing: mistakes are displayed with their images."""
        del image, output, target
        return {}

    def write_prediction(self, output: Tensor, size: tuple[int, int]) -> None:
        """Return None: predictions are names."""

    def name_predictions(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the most probable class and its probability."""
        probabilities, predicted = logits.double().softmax(dim=1).max(dim=1)
        rows = zip(predicted.tolist(), probabilities.tolist(), strict=True)
        return [(classes[index], probability) for index, probability in rows]

    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the true class."""
        return [classes[target] for target in targets.tolist()]

    def class_selector(self, top_k: int | None, threshold: float | None) -> ClassSelector:
        """Select the ``top_k`` most probable classes, by default one."""
        if threshold is not None:
            raise InputError(
                f"--threshold: requires a multi-label model, and this model predicts one class per image, found "
                f"{threshold:g}. Use --top-k."
            )

        def select(logits: Tensor) -> list[SelectedClasses]:
            # In float64, as in the files of an evaluation.
            best = logits.double().softmax(dim=1).topk(min(top_k or 1, logits.shape[1]), dim=1)
            rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            return [SelectedClasses(tuple(indices), tuple(values)) for indices, values in rows]

        return select
