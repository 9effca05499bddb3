"""What a converted network may cost, or lose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsft.choices import Cost, Runtime
from dsft.conversion.words import read_word
from dsft.conversion_rules import find_budget_conflict
from dsft.errors import ConversionError, did_you_mean
from dsft.number_format import percent_hint
from dsft.runtimes import RUNTIMES

_MEASUREMENT = ("runtime", "batch_size", "threads")
"""What a budget says about the passes that are timed."""


@dataclass(frozen=True)
class Budget:
    """The largest cost of the converted network.

    Args:
        by: The cost that is limited.
        share: The share of the original network's cost that may be left, above 0 and up to 1.
        runtime: Runtime for latency measurements, those of the layers' forms included.
        batch_size: Inputs in a pass that is timed; None for those of the example input.
        threads: Threads per operator in a pass that is timed.

    Raises:
        ConversionError: ``share`` is out of range, or a name is unknown.
    """

    by: Cost
    share: float
    runtime: Runtime = Runtime.EAGER
    batch_size: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", read_word("budget by", self.by, Cost))
        object.__setattr__(self, "runtime", _read_runtime(self.runtime))
        _require_counts(self.batch_size, self.threads)
        if not _is_number(self.share) or not 0 < self.share <= 1:
            hint = percent_hint(self.share) if _is_number(self.share) else ""
            raise ConversionError(
                f"budget {self.by}: a share above 0 and up to 1 is needed, found {self.share!r}.{hint}"
            )


@dataclass(frozen=True)
class MaxDrop:
    """The largest loss of score; the cost is made as small as it allows.

    Args:
        points: Points of the score that may be lost, at least 0.
        by: The cost that is minimized.
        runtime: Runtime for latency measurements.
        batch_size: Inputs in a pass that is timed; None for those of the example input.
        threads: Threads per operator in a pass that is timed.

    Raises:
        ConversionError: ``points`` is out of range, or a name is unknown.
    """

    points: float
    by: Cost = Cost.MACS
    runtime: Runtime = Runtime.EAGER
    batch_size: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", read_word("budget by", self.by, Cost))
        object.__setattr__(self, "runtime", _read_runtime(self.runtime))
        _require_counts(self.batch_size, self.threads)
        if not _is_number(self.points) or not 0 <= self.points < math.inf:
            raise ConversionError(f"budget max_drop: a number of at least 0 is needed, found {self.points!r}.")


AnyBudget = Budget | MaxDrop | Mapping[str, Any]
"""A budget as an object, or as recipes write it: ``{"macs": 0.5}`` or ``{"max_drop": 1.0, "by": "params"}``."""


def read_budget(budget: AnyBudget | None) -> Budget | MaxDrop | None:
    """Read a budget in any of its notations; None stays None.

    Raises:
        ConversionError: It is of another form.
    """
    if budget is None or isinstance(budget, Budget | MaxDrop):
        return budget
    if not isinstance(budget, Mapping):
        raise ConversionError(
            f"budget: a mapping such as {{'macs': 0.5}} or a dsft.Budget is needed, found {budget!r}."
        )
    values = dict(budget)
    known = (*map(str, Cost), "max_drop", "by", *_MEASUREMENT)
    if unknown := [key for key in values if key not in known]:
        raise ConversionError(
            f"budget: unknown key {unknown[0]!r}, expected some of {', '.join(known)}."
            f"{did_you_mean(str(unknown[0]), known)}"
        )
    if conflict := find_budget_conflict(values.keys()):
        raise ConversionError(f"budget: {conflict}. Found {budget!r}.")
    if "max_drop" in values:
        return MaxDrop(values.pop("max_drop"), **values)
    measurement = {key: values.pop(key) for key in _MEASUREMENT if key in values}
    ((by, share),) = values.items()
    return Budget(Cost(by), share, **measurement)


def _require_counts(batch_size: int | None, threads: int) -> None:
    for name, count in (("batch_size", 1 if batch_size is None else batch_size), ("threads", threads)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConversionError(f"budget {name}: a whole number of at least 1 is needed, found {count!r}.")


def _read_runtime(runtime: str) -> Runtime:
    known = read_word("budget runtime", runtime, Runtime)
    if not RUNTIMES[known].times_layers:
        usable = [str(each) for each, support in RUNTIMES.items() if support.times_layers]
        raise ConversionError(
            f"budget runtime: a plan needs the times of single layers, which {known} does not provide since it fuses "
            f"layers. Use {' or '.join(usable)}."
        )
    return known


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
