"""The presentation of the predictions of multi-label classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dsft.choices import LABEL_SEPARATOR
from dsft.errors import InputError
from dsft.metrics import label_set_probabilities
from dsft.tasks.image_labels import ImageLabelView
from dsft.tasks.task import ClassSelector, SelectedClasses


class MultiLabelView(ImageLabelView):
    """Implements :class:`dsft.tasks.View`."""

    activation: ClassVar = "sigmoid"
    calibration_axes: ClassVar = ("probability of a label", "fraction that has it", "decisions (%)")

    def name_predictions(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the labels with a probability above 0.5, and the probability of exactly this set."""
        names = self.name_targets((logits > 0).float(), classes)
        return list(zip(names, label_set_probabilities(logits).tolist(), strict=True))

    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the labels joined by ``;``; an empty string if there are none."""
        return [
            LABEL_SEPARATOR.join(name for name, share in zip(classes, row, strict=True) if share > 0.5)
            for row in targets.tolist()
        ]

    def class_selector(self, top_k: int | None, threshold: float | None) -> ClassSelector:
        """Select the labels with a probability above a threshold, by default 0.5."""
        if top_k is not None:
            raise InputError(
                f"--top-k: requires a model that predicts one class per input, and this model predicts any number of "
                f"labels, found {top_k}. Use --threshold."
            )
        least = 0.5 if threshold is None else threshold

        def select(logits: Tensor) -> list[SelectedClasses]:
            values, indices = logits.double().sigmoid().sort(dim=1, descending=True, stable=True)
            counts = (values > least).sum(dim=1).tolist()
            rows = zip(indices.tolist(), values.tolist(), counts, strict=True)
            return [SelectedClasses(tuple(one[:count]), tuple(two[:count])) for one, two, count in rows]

        return select
