from __future__ import annotations

import pytest

from dsft.errors import RecipeError
from dsft.training.early_stopping import best_index, best_indices, has_stalled, monitored
from tests.training.pieces import stopping_settings


def test_losses_are_better_when_smaller() -> None:
    values = {"val/top1": 90.0, "val/loss": 0.5}
    assert monitored(values, "val/top1") == 90
    assert monitored(values, "val/loss") == -0.5


def test_an_unknown_metric_is_named_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"found 'val/topl'\. Did you mean val/top1\? Valid are val/top1"):
        monitored({"val/top1": 90.0}, "val/topl")


def test_ties_keep_the_earlier() -> None:
    assert best_index([1.0, 3.0, 2.0, 3.0]) == 1
    assert best_indices([1.0, 3.0, 2.0, 3.0, 1.0], 4) == [1, 3, 2, 0]
    assert best_indices([1.0, 3.0], 4) == [1, 0]


@pytest.mark.parametrize(
    ("scores", "patience", "min_delta", "stalled"),
    [
        ([1.0, 2.0, 2.0], 2, 0.0, False),
        ([1.0, 2.0, 2.0, 1.9], 2, 0.0, True),
        ([1.0, 2.0, 2.0, 2.1], 2, 0.0, False),
        ([1.0, 1.4, 1.8], 2, 0.5, False),
        ([1.0, 1.4, 1.5], 2, 0.5, True),
        ([3.0, 2.0, 1.0], None, 0.0, False),
        ([3.0], 1, 0.0, False),
    ],
)
def test_patience_counts_epochs_without_an_improvement(
    scores: list[float], patience: int | None, min_delta: float, stalled: bool
) -> None:
    settings = stopping_settings(patience=patience, min_delta=min_delta)
    assert has_stalled(scores, settings) is stalled
