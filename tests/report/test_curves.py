from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import TaskName
from dsft.report.curves import plot_losses, plot_scores
from dsft.report.figures import BLUE, GREEN, GREY, ORANGE
from dsft.tasks import CLASSIFICATION, task_named
from tests.report.pictures import pixels_of

TOP1 = CLASSIFICATION.scorer.layout.main


def _history(epochs: int) -> list[Mapping[str, float]]:
    return [
        {"epoch": n, "lr": 0.1 / n, "train_loss": 9 / n, "val/loss": 2 / n, "val/top1": 100 - 50 / n, "seconds": 1.0}
        for n in range(1, epochs + 1)
    ]


def _places(path: Path, colour: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of a colour, without the legend above the panels."""
    pixels = pixels_of(path, colour)
    rows, columns = np.nonzero(pixels[pixels.shape[0] // 9 :])
    return rows, columns


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_any_number_of_epochs_is_drawn(tmp_path: Path, epochs: int) -> None:
    plot_losses(_history(epochs), tmp_path / "losses.png")
    plot_scores(_history(epochs), tmp_path / "scores.png", TOP1)
    assert all(pixels_of(tmp_path / "losses.png", colour).any() for colour in (BLUE, ORANGE))
    assert all(pixels_of(tmp_path / "scores.png", colour).any() for colour in (BLUE, GREEN))
    with Image.open(tmp_path / "losses.png") as losses, Image.open(tmp_path / "scores.png") as scores:
        assert losses.size == scores.size  # they fit side by side


def test_losses_of_one_kind_share_their_axes_and_others_do_not(tmp_path: Path) -> None:
    spans = {}
    for is_comparable in (True, False):
        path = tmp_path / f"{is_comparable}.png"
        plot_losses(_history(60), path, is_comparable=is_comparable)
        rows = [_places(path, colour)[0] for colour in (ORANGE, BLUE)]
        spans[is_comparable] = [(int(each.min()), int(each.max())) for each in rows]
    (train_top, train_bottom), (val_top, val_bottom) = spans[True]
    # On common axes the smaller loss has a small part of the range.
    assert train_top < val_top < train_bottom < val_bottom
    assert val_bottom - val_top < 0.4 * (train_bottom - train_top)
    # On axes of their own, one is above the other, and each fills its panel.
    (train_top, train_bottom), (val_top, val_bottom) = spans[False]
    assert train_bottom < val_top
    assert val_bottom - val_top == pytest.approx(train_bottom - train_top, rel=0.05)


def test_accuracy_rises_and_the_rate_falls_from_left_to_right(tmp_path: Path) -> None:
    plot_scores(_history(60), tmp_path / "scores.png", TOP1)
    for colour, sign in ((GREEN, 1), (BLUE, -1)):
        rows, columns = _places(tmp_path / "scores.png", colour)
        assert sign * np.corrcoef(rows, columns)[0, 1] > 0.5  # rows are counted downwards


@pytest.mark.parametrize("plot", [plot_losses, partial(plot_scores, score=TOP1)])
def test_the_epoch_that_was_kept_is_marked_in_every_panel(tmp_path: Path, plot: Callable[..., None]) -> None:
    for best in (None, 3, 9):
        plot(_history(10), tmp_path / f"{best}.png", best_epoch=best)
    columns = {best: pixels_of(tmp_path / f"{best}.png", GREY, 0.05).sum(axis=0) for best in (None, 3, 9)}
    assert columns[3].argmax() + 100 < columns[9].argmax()
    assert columns[None].max() < 0.3 * columns[9].max()


def test_scores_that_a_run_lacks_have_no_panel(tmp_path: Path) -> None:
    plot_scores(_history(3), tmp_path / "all.png", TOP1)
    plot_scores([{"epoch": 1, "lr": 0.1, "train_loss": 1.0}], tmp_path / "rate.png", TOP1)
    assert pixels_of(tmp_path / "all.png", BLUE).any()
    assert not pixels_of(tmp_path / "rate.png", BLUE).any()


@pytest.mark.parametrize("task", TaskName)
def test_every_task_shows_its_main_score(tmp_path: Path, task: TaskName) -> None:
    main = task_named(task).scorer.layout.main
    history = [{"epoch": n, "lr": 0.1, "train_loss": 1.0, f"val/{main.name}": 0.1 * n} for n in (1, 2)]
    plot_scores(history, tmp_path / "scores.png", main)
    assert pixels_of(tmp_path / "scores.png", BLUE).any()
