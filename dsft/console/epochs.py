"""The table of the epochs of a training run, printed row by row as the run proceeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dsft.console.wording import duration, figure
from dsft.number_format import plural
from dsft.progress import EpochDone, StoppedEarly

_GAP = "  "
_BEST = "best"
_POSITION = ("epoch", "step")  # the first column says where in the run a row is


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        label: What its values are.
        show: Writes a value without its unit; scores are in percent.
        unit: The unit, or nothing.
    """

    label: str
    show: Callable[[float], str]
    unit: str = ""

    @property
    def heading(self) -> str:
        """What is written above the column."""
        return f"{self.label} {self.unit}".rstrip()


def _percent(label: str, scale: float = 1.0) -> Column:
    return Column(label, lambda value: f"{scale * value:.2f}", "%")


_COLUMNS: Mapping[str, Column] = {
    "train_loss": Column("train loss", "{:.4f}".format),
    "val/loss": Column("val loss", "{:.4f}".format),
    "val/top1": _percent("top-1"),
    "val/top5": _percent("top-5"),
    "val/map": _percent("mAP", 100),
    "val/map50": _percent("mAP50", 100),
    "val/map75": _percent("mAP75", 100),
    "val/exact_match": _percent("exact match", 100),
    "val/micro_f1": _percent("micro F1", 100),
    "val/miou": _percent("mIoU", 100),
    "val/pixel_accuracy": _percent("pixel acc.", 100),
    "val/psnr": Column("PSNR dB", "{:.2f}".format),
    "val/ssim": Column("SSIM", "{:.4f}".format),
    "val/psnr_y": Column("PSNR Y dB", "{:.2f}".format),
    "val/ssim_y": Column("SSIM Y", "{:.4f}".format),
    "val/macro_f1": _percent("macro F1", 100),
    "lr": Column("lr", "{:.3g}".format),
    "seconds": Column("time", duration),
    "images_per_second": Column("images/s", "{:.0f}".format),
    "data_share": Column("data wait", lambda value: f"{100 * value:.0f}", "%"),
}
"""The columns of the figures of ``metrics.jsonl``, in the order of the table."""

_WIDEST = {"train_loss": 10, "val/loss": 8, "lr": 8}  # characters that later values may need


class EpochTable:
    """A table with a row for each epoch; its columns are fixed by the first row.

    Args:
        width: Columns of the terminal. The least important columns are left out until the table fits. None is for
            log files: no column is left out, and every row begins with the word ``epoch``, so that it can be
            searched for.
    """

    def __init__(self, width: int | None = None) -> None:
        self._width = width
        self._columns: dict[str, tuple[Column, int]] = {}
        self._has_header = False

    def continue_below(self, lines: Sequence[str]) -> None:
        """Write no header if one of these lines, which precede the table, is one."""
        self._has_header = any(re.match(r"epoch +[^\d ]", line) for line in lines)

    def add(self, event: EpochDone) -> list[str]:
        """Return the lines of an epoch: its row, before which the first one has the header."""
        place = f"{event.epoch:>{len(str(event.epochs))}}/{event.epochs}"
        if self._width is None:
            place = f"epoch {place}"
        self._columns = self._columns or self._choose(event, len(place))
        lines = []
        if not self._has_header:
            headings = (column.heading.rjust(width) for column, width in self._columns.values())
            lines.append(_GAP.join(["epoch".ljust(len(place)), *headings]))
            self._has_header = True
        cells = (
            (column.show(event.values[name]) if name in event.values else "-").rjust(width)
            for name, (column, width) in self._columns.items()
        )
        row = _GAP.join([place.rjust(len("epoch")), *cells, *([_BEST] if event.best else [])])
        return [*lines, row]

    def _choose(self, event: EpochDone, place: int) -> dict[str, tuple[Column, int]]:
        """Return the columns that fit, and their widths."""
        chosen = {name: _sized(_column(name, event.unit), name, event.values[name]) for name in _in_order(event.values)}
        least_important_first = sorted(chosen, key=_importance)
        while self._width is not None and least_important_first:
            needed = max(place, len("epoch")) + sum(len(_GAP) + width for _, width in chosen.values())
            if needed + len(_GAP + _BEST) <= self._width:
                break
            del chosen[least_important_first.pop(0)]
        return chosen


def early_stop_line(event: StoppedEarly) -> str:
    """Return when and why a training stopped early, and its best epoch."""
    column = _column(event.monitor)
    best = f"{column.label} {column.show(event.best)} {column.unit}".rstrip()
    return (
        f"stopped early after epoch {event.epoch} of {event.epochs}: {column.label} has not improved for "
        f"{plural(event.patience, 'epoch')} (evaluate.patience). Best: epoch {event.best_epoch}, {best}"
    )


def _column(name: str, unit: str = "images") -> Column:
    if name == "images_per_second":
        return Column(f"{unit}/s", "{:.0f}".format)
    return _COLUMNS.get(name, Column(name.removeprefix("val/"), figure))


def _in_order(values: Mapping[str, float]) -> list[str]:
    """Return the names of the figures in the order of their columns; unknown ones follow the known scores."""
    order = list(_COLUMNS)
    last_score = order.index("val/macro_f1")
    shown = [name for name in values if name not in _POSITION]
    return sorted(shown, key=lambda name: order.index(name) if name in order else last_score + 0.5)


def _sized(column: Column, name: str, value: float) -> tuple[Column, int]:
    return column, max(len(column.heading), len(column.show(value)), _WIDEST.get(name, 6))


def _importance(name: str) -> int:
    by_importance = ["data_share", "images_per_second", "val/top5", "lr", "seconds", "train_loss", "val/loss"]
    is_main_score = name in ("val/top1", "val/map", "val/miou", "val/psnr")
    return len(by_importance) if is_main_score else by_importance.index(name) if name in by_importance else 2
