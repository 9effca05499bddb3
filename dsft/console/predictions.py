"""Table of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.console.tables import build_table

if TYPE_CHECKING:
    from dsft.evaluation import Prediction


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """List the predicted classes of each image, one per row; or the file of each."""
    if files := [[prediction.path, prediction.file] for prediction in predictions if prediction.file is not None]:
        return build_table(["image", "file"], files)
    numbers = ["probability"]
    rows = [
        ["" if rank else prediction.path, name, share]
        for prediction in predictions
        for rank, (name, share) in enumerate(_named(prediction))
    ]
    return build_table(["image", "class", *numbers], rows, numbers=numbers)


def _named(prediction: Prediction) -> list[tuple[str, str]]:
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    # An image without any label has a row too.
    return [(name, f"{share:.4f}") for name, share in pairs] or [("-", "-")]
