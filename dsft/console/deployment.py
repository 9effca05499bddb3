"""The table of ``dsft deploy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from dsft.console.exports import float_layers_phrase
from dsft.console.tables import build_table
from dsft.number_format import count, plural

if TYPE_CHECKING:
    from dsft.evaluation.deployment import DeployResult, DeployRow


def deployment_table(result: DeployResult) -> Table:
    """List file size, score and times by runtime and number format; a ratio below 1 is faster."""
    metric = result.metric
    batches = list(result.rows[0].timings) if result.rows else []
    times = [name for batch in batches for name in (f"ms, batch {batch}", "ratio")]
    numbers = ["file", metric.label, "difference", "95 % CI", "outputs differ", *times]
    cells = [
        [
            str(row.runtime),
            row.dtype,
            f"{count(row.file_bytes)}B",
            metric.with_unit(row.score),
            *_difference(row),
            "-" if row.output_difference is None else f"{row.output_difference:.1e}",
            *(
                cell
                for timing in row.timings.values()
                for cell in (f"{timing.milliseconds.median:.3f}", f"{timing.ratio.median:.3f}")
            ),
        ]
        for row in result.rows
    ]
    return build_table(["runtime", "dtype", *numbers], cells, numbers=numbers)


def deployment_notes(result: DeployResult) -> list[str]:
    """Say how the table was measured, and which runtimes are missing."""
    return [
        f"{plural(result.images, f'test {result.kind}')}; differences are to torch, those of outputs relative "
        f"to the largest. {result.device}, {plural(result.threads, 'thread')}; medians of interleaved passes, ratios "
        "to the unconverted network in the same runtime and dtype.",
        *(
            f"{row.runtime} {row.dtype}: {float_layers_phrase(row.float_layers)}"
            for row in result.rows
            if row.float_layers
        ),
        *(f"{name}: {reason}" for name, reason in result.unusable.items()),
    ]


def _difference(row: DeployRow) -> tuple[str, str]:
    if row.difference is None:
        return "-", "-"
    points = row.difference.metric.points
    ends = " to ".join(f"{points * end:+.2f}" for end in row.difference.interval)
    return f"{points * row.difference.value:+.2f}", ends
