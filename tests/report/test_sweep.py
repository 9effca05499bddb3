from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from dsft.report.figures import BLUE, GREY
from dsft.report.sweep import SweepPoint, plot_sweep
from dsft.tasks import CLASSIFICATION, MULTI_LABEL, RESTORATION
from tests.report.pictures import pixels_of

TOP1, MAP, PSNR = (task.scorer.layout.main for task in (CLASSIFICATION, MULTI_LABEL, RESTORATION))


def _points(*scores: float) -> list[SweepPoint]:
    budgets = np.linspace(0.2, 1.0, len(scores)).tolist()
    return [SweepPoint(budget, budget, budget, score) for budget, score in zip(budgets, scores, strict=True)]


@pytest.mark.parametrize("scores", [(20.0, 60.0, 90.0), (90.0, 60.0, 20.0), (90.0, 90.0, 90.0), (20.0, 20.0, 20.0)])
def test_the_legend_covers_no_point(tmp_path: Path, scores: tuple[float, ...]) -> None:
    plot_sweep(_points(*scores), 90.0, TOP1, tmp_path / "sweep.png")
    dark = pixels_of(tmp_path / "sweep.png", "black")
    # The spines on the left of the panels are the longest dark line; above it there is the legend alone.
    top = np.nonzero(dark[:, dark.sum(axis=0).argmax()])[0].min()
    for colour in (BLUE, GREY):
        assert pixels_of(tmp_path / "sweep.png", colour)[:top].any()


def test_fractions_are_drawn_in_percent_like_percentages(tmp_path: Path) -> None:
    plot_sweep(_points(20.0, 60.0, 90.0), 90.0, TOP1, tmp_path / "top1.png")
    plot_sweep(_points(0.2, 0.6, 0.9), 0.9, MAP, tmp_path / "map.png")
    for colour in (BLUE, GREY):
        lower = [pixels_of(tmp_path / f"{name}.png", colour)[100:, 100:] for name in ("top1", "map")]
        assert (lower[0] == lower[1]).mean() > 0.999


def test_the_axis_has_the_unit_of_the_score(tmp_path: Path) -> None:
    pictures = []
    for unit in ("dB", "%", ""):
        plot_sweep(_points(30.0, 31.0, 32.0), 33.0, dataclasses.replace(PSNR, unit=unit), tmp_path / "psnr.png")
        pictures.append(pixels_of(tmp_path / "psnr.png", "black")[:, :60])
    assert not any((one == other).all() for one, other in itertools.combinations(pictures, 2))
