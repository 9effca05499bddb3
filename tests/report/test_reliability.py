from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dsft.metrics import Reliability, reliability
from dsft.report.figures import BLUE, ORANGE
from dsft.report.reliability import plot_reliability
from tests.report.pictures import pixels_of


def test_a_bar_is_as_high_as_the_accuracy_of_its_interval(tmp_path: Path) -> None:
    for accuracy in (0.9, 0.3):
        found = Reliability((0, 10, 0, 10), (0, 0.4, 0, 0.9), (0, accuracy, 0, accuracy))
        plot_reliability(found, tmp_path / f"{accuracy}.png")
    high, low = (pixels_of(tmp_path / f"{accuracy}.png", BLUE) for accuracy in (0.9, 0.3))
    upper = slice(0, int(high.shape[0] * 0.7))
    assert 2.5 < high[upper].sum() / low[upper].sum() < 3.6
    # Two of four intervals have images, each half of them.
    widest = high.sum(axis=1).max()
    assert 0.3 < widest / high.shape[1] < 0.5


def test_the_scaled_curve_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    logits = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 3
    targets = torch.arange(200) % 4
    plot_reliability(reliability(logits, targets), tmp_path / "one.png")
    plot_reliability(reliability(logits, targets), tmp_path / "two.png", reliability(logits / 3, targets))
    assert not pixels_of(tmp_path / "one.png", ORANGE).any()
    assert pixels_of(tmp_path / "two.png", ORANGE).sum() > 200


def test_one_image_is_enough(tmp_path: Path) -> None:
    plot_reliability(reliability(torch.tensor([[9.0, 0.0]]), torch.tensor([0])), tmp_path / "a.png")
    assert np.any(pixels_of(tmp_path / "a.png", BLUE))
