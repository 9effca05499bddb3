"""Predict the classes of unlabelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dsft.devices import Compute
from dsft.evaluation.batches import BatchSource
from dsft.evaluation.inference import infer_batches
from dsft.progress import Report, ignore, report_task
from dsft.tasks import ClassSelector


@dataclass(frozen=True)
class Prediction:
    """The predicted classes of an image.

    Attributes:
        path: The image.
        classes: Names of the predicted classes in order of decreasing probability.
        probabilities: Their probabilities, 0 to 1.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        rows = zip(self.classes, self.probabilities, strict=True)
        return {"path": self.path, "predictions": [{"class": name, "probability": share} for name, share in rows]}


def predict(
    module: nn.Module,
    loader: BatchSource,
    *,
    classes: Sequence[str],
    select: ClassSelector,
    compute: Compute,
    keys: Sequence[str],
    report: Report = ignore,
) -> Iterator[Prediction]:
    """Yield the predicted classes of all readable images, in the order of ``keys``.

    Args:
        module: The network, on the device of ``compute``.
        loader: The images, with the evaluation transform and not shuffled.
        classes: The class table, in the order of the logits.
        select: Selects the predicted classes, see :meth:`dsft.tasks.View.class_selector`.
        compute: How the network runs.
        keys: Paths of the images, by position.
        report: Receives the progress, in images.

    Raises:
        ModelError: The output is not one logit for each class.
        TrainingError: A logit is not finite.
    """
    with report_task(report, "predicting", len(keys), "images") as advance:
        batches = infer_batches(
            module, loader, num_classes=len(classes), compute=compute, keys=keys, what="images", advance=advance
        )
        for logits, _, positions in batches:
            for position, chosen in zip(positions.tolist(), select(logits), strict=True):
                names = tuple(classes[index] for index in chosen.classes)
                yield Prediction(keys[position], names, chosen.probabilities)
