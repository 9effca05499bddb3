"""The tables of a run's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsft.conversion import ConversionPlan
from dsft.number_format import count
from dsft.report.page import NOTHING, Cell, Table, number
from dsft.report.sections import Values


def costs_table(conversion: Values) -> Table:
    """Compare the cost of the original with that of the converted network."""
    numbers = ["MACs", "MACs ratio", "parameters", "parameters ratio", "latency ms", "latency ratio"]
    first = conversion["original"]
    rows = [
        [
            Cell(name),
            Cell(count(cost["macs"]), cost["macs"]),
            number(cost["macs"] / first["macs"], ".3f"),
            Cell(count(cost["params"]), cost["params"]),
            number(cost["params"] / first["params"], ".3f"),
            number(cost["latency_ms"], ".2f"),
            number(cost["latency_ms"] / first["latency_ms"], ".3f"),
        ]
        for name, cost in (("original", first), ("converted", conversion["converted"]))
    ]
    return Table("Cost per input; ratios are to the original", ["network", *numbers], numbers, rows)


def layers_table(conversion: Values, plan: ConversionPlan) -> Table:
    """List every convolution.

    Args:
        conversion: ``conversion.json``, which has the costs.
        plan: The plan of the model folder, which has what replaces each convolution.
    """
    numbers = ["size", "MACs before", "MACs after", "relative error", "ms before", "ms after"]
    planned = {layer.name: layer for layer in plan.layers}
    rows = [
        [
            Cell(layer["name"]),
            Cell(layer["decision"]),
            Cell(planned[layer["name"]].structure or NOTHING),
            Cell(planned[layer["name"]].size or NOTHING, layer["kernels"]),
            Cell(count(layer["macs_before"]), layer["macs_before"]),
            Cell(count(layer["macs_after"]), layer["macs_after"]),
            number(layer["relative_error"], ".3f"),
            number(layer["latency_ms_before"], ".3f"),
            number(layer["latency_ms_after"], ".3f"),
            Cell(planned[layer["name"]].reason.message),
        ]
        for layer in conversion["layers"]
    ]
    caption = "All convolutions; size: depthwise kernels per channel on average, or the rank of a low-rank layer"
    return Table(caption, ["layer", "decision", "structure", *numbers, "reason"], numbers, rows)


def epochs_table(history: Sequence[Mapping[str, float]]) -> Table:
    """List every epoch under the names of ``metrics.jsonl``."""
    columns = list(dict.fromkeys(name for values in history for name in values))
    rows = [[number(values.get(name), ".5g") for name in columns] for values in history]
    return Table("All epochs, as in metrics.jsonl", columns, columns, rows)
