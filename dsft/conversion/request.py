"""The settings of a conversion, checked when they are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal, TypeVar

from dsft.choices import AUTO, Cost, Form, Method, Runtime, Structure
from dsft.conversion_rules import find_budget_conflict, find_conflict
from dsft.errors import ConversionError, did_you_mean
from dsft.number_format import percent_hint
from dsft.runtimes import RUNTIMES

SEPARABLE = (Structure.DW_PW, Structure.PW_DW)
"""The structures of one depthwise and one pointwise convolution."""

FASTEST = (Structure.PW_DW_PW, *SEPARABLE)
"""The structures that a budget chooses from where they are ``auto``."""

Rank = int | Literal["full"]
Auto = Literal["auto"]
Word = TypeVar("Word", bound=StrEnum)


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


_MEASUREMENT = ("runtime", "batch_size", "threads")
"""What a budget says about the passes that are timed."""


@dataclass(frozen=True)
class Request:
    """The settings of a conversion. Exactly one of ``budget`` and ``rank`` is given; names may be plain text.

    Args:
        budget: The largest cost of the converted network, or the largest loss of score.
        rank: Kernels per input channel (``dw_pw``), per output channel (``pw_dw``), per channel of the wider side
            (``pw_dw_pw``) or per group (``low_rank``), the same in every layer; ``"full"`` for as many as make every
            layer exact, whatever they cost.
        method: How the weights are derived; ``"auto"`` is ``refit`` where there is calibration data, else ``svd``.
        structures: What a convolution may be replaced by. Under a budget each layer gets the one with the smallest
            error at its cost; with ``rank`` it gets the first one that fits. ``"auto"`` allows ``pw_dw_pw``, ``dw_pw``
            and ``pw_dw`` with one depthwise kernel for each of their maps, in the sizes that are expected to be faster
            than the convolution; with ``rank`` and with ``norm_between`` it is ``dw_pw`` and ``pw_dw``.
        form: How an input channel is fed to several kernels, wherever a layer supports it; ``"auto"`` chooses for each
            layer.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        norm_between: Put a norm and an activation between the two convolutions; requires the method ``fresh``.
        only_faster: Keep layers dense that do not measure faster.
        recover: Gradient steps after the fit to calibration data, which bring the outputs closer to the original's
            without labels; ``"auto"`` for as many as bring something, None for none.
        seed: Seed of the random weights and of the labels drawn for the Fisher information.

    Raises:
        ConversionError: The settings contradict each other, or a name is unknown.
    """

    budget: AnyBudget | None = None
    rank: Rank | None = None
    method: Method | Auto = AUTO
    structures: Sequence[Structure] | Auto = AUTO
    form: Form | Auto = AUTO
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    norm_between: bool = False
    only_faster: bool = False
    recover: int | Auto | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", read_budget(self.budget))
        _require_rank(self.rank)
        require_steps("recover", self.recover)
        object.__setattr__(self, "method", read_setting("method", self.method, Method))
        object.__setattr__(self, "form", read_setting("form", self.form, Form))
        for name in ("include", "exclude"):
            _require_list(name, "patterns", getattr(self, name))
        if self.structures != AUTO:
            structures = read_words("structures", self.structures, Structure)
            object.__setattr__(self, "structures", tuple(dict.fromkeys(structures)))
        conflict = find_conflict(
            has_budget=self.budget is not None,
            has_rank=self.rank is not None,
            method=self.method,
            structures=None if self.structures == AUTO else self.structures,
            norm_between=self.norm_between,
        )
        if conflict is not None:
            raise ConversionError(f"{conflict}.")

    def at(self, budget: Budget) -> Request:
        """Return the same request with another budget."""
        return replace(self, budget=budget)

    @property
    def has_free_choice(self) -> bool:
        """Whether the structures and sizes that are fastest are chosen, since the request names no structures."""
        return self.structures == AUTO and self.rank is None and not self.norm_between

    @property
    def allowed_structures(self) -> tuple[Structure, ...]:
        """The structures that a convolution may be replaced by."""
        if self.structures == AUTO:
            return FASTEST if self.has_free_choice else SEPARABLE
        return tuple(Structure(name) for name in self.structures)

    @property
    def cost_budget(self) -> Budget | None:
        """The budget where it limits a cost."""
        return self.budget if isinstance(self.budget, Budget) else None

    @property
    def max_drop(self) -> MaxDrop | None:
        """The budget where it limits the loss of score."""
        return self.budget if isinstance(self.budget, MaxDrop) else None

    @property
    def runtime(self) -> Runtime:
        """Runtime for latency measurements."""
        return self.budget.runtime if isinstance(self.budget, Budget | MaxDrop) else Runtime.EAGER

    @property
    def batch_size(self) -> int | None:
        """Inputs in a pass that is timed; None for those of the example input."""
        return self.budget.batch_size if isinstance(self.budget, Budget | MaxDrop) else None

    @property
    def threads(self) -> int:
        """Threads per operator in a pass that is timed."""
        return self.budget.threads if isinstance(self.budget, Budget | MaxDrop) else 1

    def choose_method(self, *, has_calibration: bool) -> Method:
        """Return the method, or the one that ``auto`` stands for."""
        if self.method != AUTO:
            return Method(self.method)
        return Method.REFIT if has_calibration else Method.SVD


def read_setting(argument: str, value: str, words: type[Word]) -> Word | Auto:
    """Return the named member of a closed list, or ``auto``.

    Raises:
        ConversionError: ``value`` is neither.
    """
    return AUTO if value == AUTO else read_word(argument, value, words, AUTO)


def read_word(argument: str, value: str, words: type[Word], *others: str) -> Word:
    """Return the named member of a closed list.

    Raises:
        ConversionError: There is no such member; ``others`` are listed with the members.
    """
    known = [*others, *map(str, words)]
    if value in list(words):
        return words(value)
    raise ConversionError(
        f"{argument}: one of {', '.join(known)} is needed, found {str(value)!r}.{did_you_mean(str(value), known)}"
    )


def read_words(argument: str, values: Sequence[str], words: type[Word]) -> list[Word]:
    """Return the named members of a closed list.

    Raises:
        ConversionError: One does not exist, or ``values`` is not a list.
    """
    _require_list(argument, "names", values)
    return [read_word(argument, value, words) for value in values]


def read_recover(recover: bool | int) -> int | Auto | None:
    """Return the steps of a recovery, given as in Python's functions: True for ``auto``, False for none.

    Raises:
        ConversionError: It is a number below 1, or no number.
    """
    steps: int | Auto | None = (AUTO if recover else None) if isinstance(recover, bool) else recover
    require_steps("recover", steps)
    return steps


def read_structures(names: str | None, order: str | None) -> tuple[Structure, ...] | Auto:
    """Read the structures that a command line allows.

    Args:
        names: Comma-separated names, or ``auto``, which is the default.
        order: ``dw_pw`` or ``pw_dw``, to allow only this one of the two; None for no restriction.

    Returns:
        The structures, or ``auto``.

    Raises:
        ConversionError: A name is unknown, or ``order`` is not among ``names``.
    """
    if names is None or names == AUTO:
        if order is None:
            return AUTO
        listed: Sequence[Structure] = SEPARABLE
    else:
        words = names.split(",")
        if AUTO in words:
            raise ConversionError(
                f"--structures: auto stands for dsft's own choice and cannot be listed beside others, found {names!r}."
            )
        listed = [read_word("--structures", word, Structure, AUTO) for word in words]
    if order is None:
        return tuple(listed)
    if order not in SEPARABLE:
        raise ConversionError(f"--order: one of {', '.join(SEPARABLE)} is needed, found {order!r}.")
    if order not in listed:
        raise ConversionError(
            f"--order: {order} is not among --structures {','.join(listed)}. Add it, or remove --order."
        )
    return tuple(structure for structure in listed if structure == order or structure not in SEPARABLE)


def _require_list(argument: str, what: str, values: Sequence[str]) -> None:
    if isinstance(values, str):
        raise ConversionError(f"{argument}: a list of {what} is needed, such as [{values!r}], found {values!r}.")


def _require_rank(rank: Rank | None) -> None:
    is_count = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
    if rank is not None and rank != "full" and not is_count:
        raise ConversionError(f"rank: a whole number of at least 1, or 'full', is needed, found {rank!r}.")


def require_steps(argument: str, steps: int | Auto | None) -> None:
    """Check that a number of gradient steps is a whole number of at least 1, ``auto`` or None.

    Raises:
        ConversionError: It is not.
    """
    is_count = isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1
    if steps is not None and steps != AUTO and not is_count:
        raise ConversionError(f"{argument}: a number of steps of at least 1, or auto, is needed, found {steps!r}.")


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
