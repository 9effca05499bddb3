"""The tables that commands end with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.console.tables import build_table
from dsft.console.wording import figure
from dsft.number_format import count

if TYPE_CHECKING:
    from dsft.conversion import ConversionPlan, ConversionReport
    from dsft.evaluation import Difference
    from dsft.runtimes import Footprint, MeasuredOn


@dataclass(frozen=True)
class ModelRow:
    """One model of a comparison: a label, what it costs to run, and the size of its file."""

    label: str
    footprint: Footprint
    file_bytes: int


def plan_table(plan: ConversionPlan) -> Table:
    """List what becomes of every convolution, with the depthwise kernels per channel or the rank of each new layer."""
    numbers = ["kernels", "MACs before", "MACs after", "rel. error"]
    rows = (
        [
            layer.name,
            layer.structure or "dense",
            layer.size or "-",
            count(layer.macs_before),
            count(layer.macs_after),
            "-" if layer.relative_error is None else f"{layer.relative_error:.3f}",
            layer.reason.message,
        ]
        for layer in plan.layers
    )
    converted = f"{len(plan.converted)} of {len(plan.layers)} convolutions converted by {plan.method}"
    return build_table(
        ["layer", "structure", *numbers, "why"],
        rows,
        numbers=numbers,
        title=f"{converted} (kernels: average per channel)" if plan.converted else converted,
        footer=["network", "", "", count(plan.macs_before), count(plan.macs_after), "", f"x {plan.macs_ratio:.3f}"],
    )


def parameters_line(plan: ConversionPlan) -> str:
    """Say in one sentence what becomes of the number of parameters."""
    return f"Parameters: {count(plan.params_before)} -> {count(plan.params_after)} (x {plan.params_ratio:.3f})."


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


def differences_table(first: str, rows: Sequence[tuple[str, Difference]]) -> Table:
    """Set models against the first one, on the same images.

    Args:
        first: Label of the first model.
        rows: A label and the difference for each of the others.
    """
    numbers = ["points", "95 % CI", "only it", "only first", "McNemar p"]
    figure = rows[0][1].metric
    cells = (
        [
            label,
            f"{figure.points * difference.value:+.2f}",
            " to ".join(f"{figure.points * end:+.2f}" for end in difference.interval),
            str(difference.only_this_right),
            str(difference.only_other_right),
            f"{difference.mcnemar_p:.3g}",
        ]
        for label, difference in rows
    )
    return build_table(["model", *numbers], cells, numbers=numbers, title=f"{figure.title} less that of {first}")


def size_table(rows: Sequence[ModelRow]) -> Table:
    """Set the sizes of models side by side; ratios are to the first."""
    first = rows[0].footprint
    numbers = ["parameters", "MACs", "ratio", "file", "memory"]
    cells = (
        [
            row.label,
            count(row.footprint.params),
            count(row.footprint.macs),
            f"{row.footprint.macs / first.macs:.3f}",
            f"{count(row.file_bytes)}B",
            f"{count(row.footprint.memory_bytes)}B",
        ]
        for row in rows
    )
    return build_table(["model", *numbers], cells, numbers=numbers)


def speed_table(rows: Sequence[ModelRow]) -> Table:
    """Set the times of timed models side by side; ratios are to the first."""
    times = [(row.label, row.footprint.latency_ms or math.nan, row.footprint.throughput or math.nan) for row in rows]
    (_, first_ms, first_throughput), *_ = times
    numbers = ["latency ms", "ratio", "images/s", "ratio"]
    cells: list[Sequence[str]] = [
        [
            label,
            f"{ms:.2f}",
            f"{ms / first_ms:.3f}",
            figure(throughput, digits=3),
            f"{throughput / first_throughput:.3f}",
        ]
        for label, ms, throughput in times
    ]
    return build_table(["model", *numbers], cells, numbers=numbers)


def circumstances(measured_on: MeasuredOn) -> str:
    """Say in one sentence what the times were measured on."""
    return measured_on.sentence()


def footprint_circumstances(measured_on: MeasuredOn, footprint: Footprint) -> str:
    """Return sentences that say how the figures of a footprint were measured."""
    batch = footprint.throughput_batch
    is_timed = footprint.latency_ms is not None
    timing = f"{circumstances(measured_on)} Images a second: the same with batch {batch}. " if is_timed else ""
    return f"{timing}Memory: peak bytes of live tensors in a forward pass of one image, weights included."
