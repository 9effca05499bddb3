"""Tables of ``dsft benchmark``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dsft.choices import InputKind
from dsft.console.tables import build_table

if TYPE_CHECKING:
    from dsft.runtimes.interleaved_timing import Spread, Timing


def timing_table(rows: Sequence[tuple[str, str, str, int, Timing]], kind: InputKind = InputKind.IMAGE) -> Table:
    """Create a table of model, runtime, number format, batch size and timing; a ratio below 1 is faster."""
    numbers = ["batch", "ms", "quartiles", f"{kind.plural}/s", "ratio", "ratio quartiles"]
    cells = [
        [
            model,
            runtime,
            dtype,
            str(batch),
            f"{timing.milliseconds.median:.3f}",
            _quartiles(timing.milliseconds),
            f"{1000 * batch / timing.milliseconds.median:.1f}",
            f"{timing.ratio.median:.3f}",
            _quartiles(timing.ratio),
        ]
        for model, runtime, dtype, batch, timing in rows
    ]
    return build_table(["model", "runtime", "dtype", *numbers], cells, numbers=numbers)


def layer_timing_table(rows: Sequence[tuple[str, Timing | None, Timing | None]], *, is_pair: bool) -> Table:
    """Create a table of single layers: time in the reference network, time in the network, and their ratio."""
    total = _total(after for _, _, after in rows)
    numbers = ["ms before", "ms", "ratio", "share"] if is_pair else ["ms", "share"]
    cells = []
    for name, before, after in rows:
        ours = _median(after)
        share = f"{after.milliseconds.median / (total or 1):.1%}" if after is not None else "-"
        ratio = f"{after.ratio.median:.3f}" if before is not None and after is not None else "-"
        cells.append([name, _median(before), ours, ratio, share] if is_pair else [name, ours, share])
    before_all = f"{_total(before for _, before, _ in rows):.3f}"
    footer = ["sum", *([before_all, f"{total:.3f}", "", ""] if is_pair else [f"{total:.3f}", ""])]
    return build_table(["layer", *numbers], cells, numbers=numbers, footer=footer)


def _total(timings: Iterable[Timing | None]) -> float:
    return sum(timing.milliseconds.median for timing in timings if timing is not None)


def _median(timing: Timing | None) -> str:
    return f"{timing.milliseconds.median:.3f}" if timing is not None else "-"


def _quartiles(spread: Spread) -> str:
    return f"{spread.low:.3f}-{spread.high:.3f}"
