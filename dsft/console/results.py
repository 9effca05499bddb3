"""The tables that commands end with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.console.tables import build_table

if TYPE_CHECKING:
    from dsft.evaluation import Metrics
    from dsft.measure import MeasuredOn
    from dsft.surgery import ConversionPlan, ConversionReport


@dataclass(frozen=True)
class ModelRow:
    """One model of a comparison: a label, its scores, and its cost for one image."""

    label: str
    metrics: Metrics
    params: int
    macs: int
    latency_ms: float


def plan_table(plan: ConversionPlan) -> Table:
    """List what becomes of every convolution."""
    numbers = ["kernels", "MACs before", "MACs after", "rel. error"]
    rows = (
        [
            layer.name,
            str(sum(layer.kernels)) if layer.is_converted else "-",
            count(layer.macs_before),
            count(layer.macs_after),
            "-" if layer.relative_error is None else f"{layer.relative_error:.3f}",
            layer.reason,
        ]
        for layer in plan.layers
    )
    return build_table(
        ["layer", *numbers, "why"],
        rows,
        numbers=numbers,
        title=f"{len(plan.converted)} of {len(plan.layers)} convolutions converted by {plan.method}",
        footer=["network", "", count(plan.macs_before), count(plan.macs_after), "", f"x {plan.macs_ratio:.3f}"],
    )


def costs_table(costs: ConversionReport) -> Table:
    """Set the cost of the original beside that of the converted network."""
    numbers = ["MACs", "parameters", "latency ms"]
    pairs = {"original": costs.original, "converted": costs.converted}
    rows = [[name, count(c.macs), count(c.params), f"{c.latency_ms:.2f}"] for name, c in pairs.items()]
    before, after = costs.original, costs.converted
    ratios = [
        f"{after.macs / before.macs:.3f}",
        f"{after.params / before.params:.3f}",
        f"{after.latency_ms / before.latency_ms:.3f}",
    ]
    return build_table(["network", *numbers], rows, numbers=numbers, footer=["ratio", *ratios])


def comparison_table(rows: Sequence[ModelRow]) -> Table:
    """Set models side by side; ratios are to the first."""
    first = rows[0]
    numbers = ["top-1", "parameters", "MACs", "ratio", "latency ms", "ratio"]
    cells: list[Sequence[str]] = [
        [
            row.label,
            f"{row.metrics.top1:.2f}",
            count(row.params),
            count(row.macs),
            f"{row.macs / first.macs:.3f}",
            f"{row.latency_ms:.2f}",
            f"{row.latency_ms / first.latency_ms:.3f}",
        ]
        for row in rows
    ]
    return build_table(["model", *numbers], cells, numbers=numbers)


def count(number: int) -> str:
    """Return a large count with three significant digits and its unit, as ``35.4 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        scaled = number / size
        # What rounds up to the next unit is shown in it.
        if scaled >= 0.9995:
            return f"{scaled:.0f} {unit}" if scaled >= 999.5 else f"{scaled:.3g} {unit}"
    return str(number)


def circumstances(measured_on: MeasuredOn) -> str:
    """Say in one sentence what the times were measured on."""
    return (
        f"Latency: {measured_on.device}, {measured_on.threads} thread, batch {measured_on.batch}, "
        f"{measured_on.dtype}, {measured_on.layout}, {measured_on.runtime}; median of runs in turn."
    )
