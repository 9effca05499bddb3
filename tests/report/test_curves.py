from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.report.curves import plot_curves
from dsft.report.figures import BLUE, GREEN, GREY, ORANGE
from tests.report.pictures import pixels_of


def _history(epochs: int) -> list[Mapping[str, float]]:
    return [
        {"epoch": n, "lr": 0.1 / n, "train_loss": 1 / n, "val/loss": 2 / n, "val/top1": 100 - 50 / n, "seconds": 1.0}
        for n in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_any_number_of_epochs_is_drawn(tmp_path: Path, epochs: int) -> None:
    plot_curves(_history(epochs), tmp_path / "curves.png")
    assert all(pixels_of(tmp_path / "curves.png", colour).any() for colour in (BLUE, ORANGE, GREEN))


def test_accuracy_rises_and_the_rate_falls_from_left_to_right(tmp_path: Path) -> None:
    plot_curves(_history(60), tmp_path / "curves.png")
    rate = np.nonzero(pixels_of(tmp_path / "curves.png", GREEN))
    assert np.corrcoef(rate[0], rate[1])[0, 1] > 0.5  # rows are counted downwards
    height = pixels_of(tmp_path / "curves.png", BLUE).shape[0]
    rows, columns = np.nonzero(pixels_of(tmp_path / "curves.png", BLUE)[height // 3 : 2 * height // 3])
    assert np.corrcoef(rows, columns)[0, 1] < -0.5


def test_the_epoch_that_was_kept_is_marked_in_every_panel(tmp_path: Path) -> None:
    for best in (None, 3, 9):
        plot_curves(_history(10), tmp_path / f"{best}.png", best)
    columns = {best: pixels_of(tmp_path / f"{best}.png", GREY, 0.05).sum(axis=0) for best in (None, 3, 9)}
    assert columns[3].argmax() + 100 < columns[9].argmax()
    assert columns[None].max() < 0.3 * columns[9].max()


def test_figures_that_a_run_lacks_have_no_panel(tmp_path: Path) -> None:
    plot_curves(_history(3), tmp_path / "three.png")
    plot_curves([{"epoch": 1, "lr": 0.1, "train_loss": 1.0}], tmp_path / "two.png")
    with Image.open(tmp_path / "three.png") as three, Image.open(tmp_path / "two.png") as two:
        assert two.height < 0.75 * three.height
