"""The presentation of detections: boxes drawn over the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dsft.tasks.detection.drawing import DrawnBox, draw_boxes
from dsft.tasks.detection.scorer import SHOWN_SCORE, DetectionScorer, count_found
from dsft.tasks.metrics import Rows
from dsft.tasks.pictures import stretched_picture

_LEAST_SIDE = 160  # of a drawn image in pixels; smaller ones are enlarged


class DetectionView:
    """Implements :class:`dsft.tasks.View`."""

    activation: ClassVar = "identity"
    columns: ClassVar = ("f1", "found", "false", "missed")

    def describe_images(self, rows: Rows, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return F1, and the numbers of boxes found, false detections and boxes missed of each image."""
        del classes
        scores = DetectionScorer().image_scores(*rows).tolist()
        counts = count_found(*rows).long().tolist()
        return [(f"{score:.6f}", *map(str, own)) for score, own in zip(scores, counts, strict=True)]

    def pictures(
        self, image: Tensor, output: Tensor, target: Tensor, classes: Sequence[str]
    ) -> Mapping[str, NDArray[np.uint8]]:
        """Return the image with its true boxes, and with those detected with a score of at least 0.3."""
        picture = Image.fromarray(stretched_picture(image)).convert("RGB")
        boxes, found = target[target[:, 4] >= 0], output[(output[:, 5] >= 0) & (output[:, 4] >= SHOWN_SCORE)]
        return {
            "truth": _draw(picture, boxes[:, :4], boxes[:, 4], classes),
            "prediction": _draw(picture, found[:, :4], found[:, 5], classes, found[:, 4]),
        }

    def write_prediction(self, output: Tensor, size: tuple[int, int]) -> None:
        """Return None: the predictions are boxes."""
        del output, size


def _draw(
    picture: Image.Image, boxes: Tensor, numbers: Tensor, classes: Sequence[str], scores: Tensor | None = None
) -> NDArray[np.uint8]:
    factor = max(1, -(-_LEAST_SIDE // min(picture.size)))
    enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    drawn = [
        DrawnBox((factor * left, factor * top, factor * right, factor * bottom), number, classes[number], score)
        for (left, top, right, bottom), number, score in zip(
            boxes.tolist(),
            numbers.long().tolist(),
            [None] * len(boxes) if scores is None else scores.tolist(),
            strict=True,
        )
    ]
    return np.asarray(draw_boxes(enlarged, drawn))
