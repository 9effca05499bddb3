"""Table of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.console.tables import build_table
from dsft.number_format import count

if TYPE_CHECKING:
    from dsft.tasks import MetricSpec

Row = tuple[float | None, int, int, int, float, float]
"""Budget (None for the original), converted layers, MACs, parameters, milliseconds, the score."""


def sweep_table(rows: Sequence[Row], title: str, figure: MetricSpec) -> Table:
    """Compare budgets; ratios and differences are relative to the original, which comes first.

    Args:
        rows: The networks.
        title: The images that they were scored on.
        figure: The score.
    """
    _, _, macs, _, milliseconds, first = rows[0]
    numbers = ["layers", "parameters", "MACs", "ratio", "ms", "ratio", figure.heading, figure.difference_unit]
    cells = [
        [
            "original" if budget is None else f"{budget:g}",
            str(layers),
            count(params),
            count(ours),
            f"{ours / macs:.3f}",
            f"{time:.2f}",
            f"{time / milliseconds:.3f}",
            figure.format(score),
            f"{figure.points * (score - first):+.2f}",
        ]
        for budget, layers, ours, params, time, score in rows
    ]
    return build_table(
        ["budget", *numbers], cells, numbers=numbers, title=f"Converted and not trained, scored on {title}"
    )
