"""The table of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.console.tables import build_table

if TYPE_CHECKING:
    from dsft.evaluation import Prediction


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """List the most probable classes of each image, a line a class."""
    numbers = ["probability"]
    rows = [
        ["" if rank else prediction.path, name, f"{share:.4f}"]
        for prediction in predictions
        for rank, (name, share) in enumerate(zip(prediction.classes, prediction.probabilities, strict=True))
    ]
    return build_table(["image", "class", *numbers], rows, numbers=numbers)
