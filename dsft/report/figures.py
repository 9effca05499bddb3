"""Style of all plots, and writing them as PNG files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dsft.storage import write_bytes

# Okabe and Ito 2008: distinguishable with every kind of colour vision, and in print by their lightness.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"

WIDTH = 5.0
"""Inches of a picture that is legible on a phone: at a width of 350 pixels, text of 10 points is 10 pixels high."""

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


@contextlib.contextmanager
def drawing(path: Path, width: float = WIDTH, height: float = 3.5, dpi: int = 160) -> Iterator[Figure]:
    """Yield a figure to draw on, and write it as a PNG file unless the block raises an error.

    Args:
        path: The file; it is written completely or not at all.
        width: In inches.
        height: In inches.
        dpi: Pixels per inch.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=dpi)
        yield figure
        write_bytes(path, _png(figure))


def shorten(name: str, longest: int = 24) -> str:
    """Return a name, with its middle replaced by an ellipsis if it is too long; line breaks become spaces."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; the tables beside the picture have the full names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
