from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dsft.report.confusion import plot_confusion


def _blue(path: Path) -> NDArray[np.bool_]:
    """Return where the picture's left three quarters, without the colour bar, are dark blue."""
    picture = matplotlib.image.imread(path)[..., :3]
    picture = picture[:, : picture.shape[1] * 3 // 4]
    return np.asarray((picture[..., 2] - picture[..., 0] > 0.25) & (picture[..., 0] < 0.3))


@pytest.mark.parametrize("classes", [2, 10, 26, 121, 300])
def test_every_number_of_classes_is_drawn(tmp_path: Path, classes: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    plot_confusion(torch.eye(classes, dtype=torch.long) * 7, names, tmp_path / "plots" / "confusion.png")
    dark = _blue(tmp_path / "plots" / "confusion.png")
    rows, columns = np.nonzero(dark)
    assert 350 < dark.shape[0] < 2500
    assert np.corrcoef(rows, columns)[0, 1] > 0.7
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["confusion.png"]


def test_rows_are_truths_and_columns_predictions(tmp_path: Path) -> None:
    confusion = torch.zeros(30, 30, dtype=torch.long)
    confusion[26, 3] = 5
    plot_confusion(confusion, [str(number) for number in range(30)], tmp_path / "c.png")
    dark = _blue(tmp_path / "c.png")
    rows, columns = np.nonzero(dark)
    assert rows.mean() > 0.7 * dark.shape[0]
    assert columns.mean() < 0.4 * dark.shape[1]


def test_a_rare_class_is_as_dark_as_a_frequent_one(tmp_path: Path) -> None:
    plot_confusion(torch.diag(torch.tensor([3] + [3000] * 29)), ["c"] * 30, tmp_path / "rare.png")
    plot_confusion(torch.diag(torch.tensor([3000] * 30)), ["c"] * 30, tmp_path / "even.png")
    assert (_blue(tmp_path / "rare.png") == _blue(tmp_path / "even.png")).all()


@pytest.mark.parametrize("name", ["$5", "a_b^{", "牛", "a very long name of a class, number ", "\\alpha $x$"])
def test_any_name_is_drawn_as_it_is_and_without_warnings(tmp_path: Path, name: str) -> None:
    plot_confusion(torch.eye(3, dtype=torch.long), [f"{name}{number}" for number in range(3)], tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_class_without_images_is_drawn_empty(tmp_path: Path) -> None:
    plot_confusion(torch.tensor([[3, 0], [0, 0]]), ["a", "b"], tmp_path / "c.png")
    assert _blue(tmp_path / "c.png").any()
