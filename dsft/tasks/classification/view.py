"""The presentation of the predictions of classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dsft.errors import InputError
from dsft.tasks.image_labels import ImageLabelView
from dsft.tasks.task import ClassSelector, SelectedClasses


class ClassificationView(ImageLabelView):
    """Implements :class:`dsft.tasks.View`."""

    activation: ClassVar = "softmax"
    calibration_axes: ClassVar = ("confidence (highest probability)", "accuracy (fraction correct)", "share (%)")

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
                f"--threshold: requires a multi-label model, and this model predicts one class per input, found "
                f"{threshold:g}. Use --top-k."
            )

        def select(logits: Tensor) -> list[SelectedClasses]:
            # In float64, as in the files of an evaluation.
            best = logits.double().softmax(dim=1).topk(min(top_k or 1, logits.shape[1]), dim=1)
            rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            return [SelectedClasses(tuple(indices), tuple(values)) for indices, values in rows]

        return select
