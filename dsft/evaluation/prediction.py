"""What a network says about images whose class nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dsft.devices import Compute
from dsft.evaluation.batches import BatchSource
from dsft.evaluation.inference import answer_batches
from dsft.progress import Report, ignore
from dsft.tasks import Chooser


@dataclass(frozen=True)
class Prediction:
    """The classes that a network names for one image: the most probable, or all that it may well have.

    Attributes:
        path: The image.
        classes: Their names, the most probable first.
        probabilities: Their probabilities, fractions of 1.
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
    choose: Chooser,
    compute: Compute,
    keys: Sequence[str],
    report: Report = ignore,
) -> Iterator[Prediction]:
    """Yield the classes of every readable image, in the order of ``keys``.

    Args:
        module: The network, on the device of ``compute``.
        loader: The images, with the evaluation transform and not shuffled.
        classes: The class table, in the order of the logits.
        choose: Which classes to name, see :meth:`dsft.tasks.Task.chooser`.
        compute: How the network runs.
        keys: Paths of the images, by position.
        report: Receives the progress, in images.

    Raises:
        ModelError: The output is not one logit for each class.
        TrainingError: A logit is not finite.
    """
    answers = answer_batches(
        module,
        loader,
        num_classes=len(classes),
        compute=compute,
        keys=keys,
        what="images",
        task="predicting",
        report=report,
    )
    for logits, _, positions in answers:
        for position, chosen in zip(positions.tolist(), choose(logits), strict=True):
            yield Prediction(keys[position], tuple(classes[index] for index in chosen.classes), chosen.probabilities)
