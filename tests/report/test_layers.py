from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsft.report.figures import BLUE, GREY, ORANGE
from dsft.report.layers import plot_layers
from tests.report.pictures import ODD_NAMES, pixels_of

LIGHT = "#9ecae1"


def _layer(name: str, after: int | None, error: float | None = 0.5, ms: float | None = 0.2) -> dict[str, Any]:
    return {
        "name": name,
        "decision": "kept" if after is None else "converted",
        "macs_before": 1_000_000,
        "macs_after": after or 1_000_000,
        "relative_error": error,
        "latency_ms_before": ms,
        "latency_ms_after": ms,
    }


def test_bars_are_as_long_as_the_cost(tmp_path: Path) -> None:
    path = tmp_path / "layers.png"
    kept, half = _layer("kept", None, None, None), _layer("half", 500_000, None, None)
    plot_layers([kept, half], path)
    grey, light, dark = (pixels_of(path, colour)[45:].sum(axis=1).max() for colour in (GREY, LIGHT, BLUE))
    assert light == pytest.approx(grey, rel=0.02)
    assert dark == pytest.approx(grey / 2, rel=0.02)


def test_the_first_layer_is_on_top(tmp_path: Path) -> None:
    path = tmp_path / "layers.png"
    plot_layers([_layer("a", 500_000), *(_layer(f"{n}", None, None, None) for n in range(9))], path)
    legend = 60
    assert np.nonzero(pixels_of(path, BLUE)[legend:])[0].max() < np.nonzero(pixels_of(path, GREY)[legend:])[0].mean()
    assert pixels_of(path, ORANGE).any()


@pytest.mark.parametrize("count", [1, 200])
def test_any_number_of_layers_and_any_name(tmp_path: Path, count: int) -> None:
    layers = [_layer(ODD_NAMES[number % len(ODD_NAMES)], 1000, 0.0, 0.1) for number in range(count)]
    plot_layers(layers, tmp_path / "layers.png")
    with Image.open(tmp_path / "layers.png") as image:
        assert image.height >= 20 * count


def test_without_conversions_there_are_no_panels_for_time_and_error(tmp_path: Path) -> None:
    plot_layers([_layer("kept", None, None, None)], tmp_path / "layers.png")
    assert not pixels_of(tmp_path / "layers.png", ORANGE).any()
