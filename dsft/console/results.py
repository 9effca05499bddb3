"""Tables of conversions and of compared models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.choices import InputKind
from dsft.console.tables import build_table
from dsft.console.wording import figure
from dsft.number_format import count, plural

if TYPE_CHECKING:
    from dsft.conversion import ConversionPlan, ConversionReport
    from dsft.evaluation import Difference
    from dsft.runtimes import Footprint, MeasuredOn


@dataclass(frozen=True)
class ModelRow:
    """One model of a comparison: its label, what it costs to run, and the size of its weights file."""

    label: str
    footprint: Footprint
    file_bytes: int


def plan_table(plan: ConversionPlan) -> Table:
    """List every convolution: what replaces it, its MACs before and after, and for a kept one the reason."""
    numbers = ["size", "MACs", "after", "error"]
    rows = [
        [
            layer.name,
            str(layer.structure or "dense"),
            layer.size or "-",
            count(layer.macs_before),
            count(layer.macs_after),
            "-" if layer.relative_error is None else f"{layer.relative_error:.3f}",
            "" if layer.is_converted else layer.reason.message,
        ]
        for layer in plan.layers
    ]
    return build_table(
        ["layer", "structure", *numbers, "why kept"],
        rows,
        numbers=numbers,
        title=_plan_title(plan),
        footer=["network", "", "", count(plan.macs_before), count(plan.macs_after), "", f"x {plan.macs_ratio:.3f}"],
    )


def _plan_title(plan: ConversionPlan) -> str:
    """Return how many convolutions are converted and why, and the meaning of the columns."""
    reasons = {layer.reason.message for layer in plan.converted}
    converted = reasons.pop() if len(reasons) == 1 else "converted"
    title = f"{len(plan.converted)} of {plural(len(plan.layers), 'convolution')} {converted} (method {plan.method})"
    if not plan.converted:
        return title
    return f"{title}. Size: depthwise kernels per channel on average, or the rank. Error: relative."


def parameters_line(plan: ConversionPlan) -> str:
    """Return one sentence with the number of parameters before and after."""
    return f"Parameters: {count(plan.params_before)} -> {count(plan.params_after)} (x {plan.params_ratio:.3f})."


def costs_table(costs: ConversionReport) -> Table:
    """Compare the cost of the original with that of the converted network."""
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


def differences_table(first: str, rows: Sequence[tuple[str, Difference]], kind: InputKind = InputKind.IMAGE) -> Table:
    """Compare models with the first one, on the same inputs.

    Args:
        first: Label of the first model.
        rows: A label and the difference for each of the others.
        kind: What the models are scored on.
    """
    figure = rows[0][1].metric
    is_counted = rows[0][1].mcnemar_p is not None
    numbers = [figure.difference_unit, "95 % CI", *(["only this", "only first", "McNemar p"] if is_counted else [])]
    cells = (
        [
            label,
            f"{figure.points * difference.value:+.2f}",
            " to ".join(f"{figure.points * end:+.2f}" for end in difference.interval),
            *(
                [
                    str(difference.only_this_right),
                    str(difference.only_other_right),
                    f"{difference.mcnemar_p:.3g}",
                ]
                if is_counted
                else []
            ),
        ]
        for label, difference in rows
    )
    counted = f"; {kind.plural} that only one of the two gets right" if is_counted else ""
    title = f"{figure.title} minus that of {first}{counted}"
    return build_table(["model", *numbers], cells, numbers=numbers, title=title)


def size_table(rows: Sequence[ModelRow]) -> Table:
    """Compare the sizes of models; ratios are to the first."""
    first = rows[0].footprint
    numbers = ["parameters", "MACs", "ratio", "file", "memory"]
    cells = (
        [
            row.label,
            count(row.footprint.params),
            count(row.footprint.macs),
            f"{row.footprint.macs / first.macs:.3f}",
            f"{count(row.file_bytes)}B",
            "-" if row.footprint.memory_bytes is None else f"{count(row.footprint.memory_bytes)}B",
        ]
        for row in rows
    )
    return build_table(["model", *numbers], cells, numbers=numbers)


def speed_table(rows: Sequence[ModelRow], kind: InputKind = InputKind.IMAGE) -> Table:
    """Compare the times of models that were timed, and how many inputs they take; ratios are to the first."""
    times = [(row.label, row.footprint.latency_ms or math.nan, row.footprint.throughput or math.nan) for row in rows]
    (_, first_ms, first_throughput), *_ = times
    numbers = ["latency ms", "ratio", f"{kind.plural}/s", "ratio"]
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
    """Return one sentence about how the times were measured."""
    return measured_on.sentence()


def footprint_circumstances(measured_on: MeasuredOn, footprint: Footprint, kind: InputKind = InputKind.IMAGE) -> str:
    """Return sentences that say how the figures of a footprint were measured."""
    is_timed = footprint.latency_ms is not None
    return measured_on.footprint_sentences(kind, footprint.throughput_batch if is_timed else None)
