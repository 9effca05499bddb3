"""The table of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from dsft.console.tables import build_table
from dsft.quantities import count

Row = tuple[float | None, int, int, int, float, float]
"""Budget (None for the original), converted layers, MACs, parameters, milliseconds, top-1 in percent."""


def sweep_table(rows: Sequence[Row], title: str) -> Table:
    """Lay budgets side by side; ratios and points are to the original, which comes first."""
    _, _, macs, _, milliseconds, top1 = rows[0]
    numbers = ["layers", "parameters", "MACs", "ratio", "ms", "ratio", "top-1", "points"]
    cells = [
        [
            "original" if budget is None else f"{budget:g}",
            str(layers),
            count(params),
            count(ours),
            f"{ours / macs:.3f}",
            f"{time:.2f}",
            f"{time / milliseconds:.3f}",
            f"{score:.2f}",
            f"{score - top1:+.2f}",
        ]
        for budget, layers, ours, params, time, score in rows
    ]
    return build_table(["budget", *numbers], cells, numbers=numbers, title=f"Before any training, on {title}")
