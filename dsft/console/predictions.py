"""Table of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.choices import InputKind
from dsft.console.tables import build_table

if TYPE_CHECKING:
    from dsft.evaluation import Prediction


def predictions_table(predictions: Sequence[Prediction], kind: InputKind) -> Table:
    """List the predicted classes of each image, one per row; its boxes; or the file of each."""
    if any(prediction.found is not None for prediction in predictions):
        return _boxes_table(predictions)
    if files := [[prediction.path, prediction.file] for prediction in predictions if prediction.file is not None]:
        return build_table([kind, "file"], files)
    numbers = ["probability"]
    rows = [
        ["" if rank else prediction.path, name, share]
        for prediction in predictions
        for rank, (name, share) in enumerate(_named(prediction))
    ]
    return build_table([kind, "class", *numbers], rows, numbers=numbers)


def _boxes_table(predictions: Sequence[Prediction]) -> Table:
    """List the boxes of each image, one per row."""
    numbers = ["score", "left", "top", "right", "bottom"]
    rows = []
    for each in predictions:
        boxes = each.found.boxes if each.found is not None else ()
        found = [
            [name, f"{score:.4f}", *(f"{side:.1f}" for side in box)]
            for name, score, box in zip(each.classes, each.probabilities, boxes, strict=True)
        ]
        # An image without any box has a row too.
        for rank, cells in enumerate(found or [["-"] * (1 + len(numbers))]):
            rows.append(["" if rank else each.path, *cells])
    return build_table(["image", "class", *numbers], rows, numbers=numbers)


def _named(prediction: Prediction) -> list[tuple[str, str]]:
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    # An image without any label has a row too.
    return [(name, f"{share:.4f}") for name, share in pairs] or [("-", "-")]
