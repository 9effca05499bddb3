"""What a conversion is asked for, checked when it is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal, Self, TypeVar

from dsft.choices import Cost, Form, Method, Order, Runtime, Structure
from dsft.errors import ConversionError, did_you_mean

SEPARABLE = (Structure.DW_PW, Structure.PW_DW)
"""What a convolution may become where nothing else is allowed."""

Rank = int | Literal["full"]
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True)
class Budget:
    """What the converted network may cost.

    Attributes:
        by: The cost that is counted.
        share: Share of the original network's cost that may be left, above 0 and up to 1.
        runtime: What runs whatever is measured, the forms of layers with a cost that is counted.

    Raises:
        ConversionError: The share is none.
    """

    by: Cost
    share: float
    runtime: Runtime = Runtime.EAGER

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConversionError(f"budget {self.by}: a share above 0 and up to 1 is needed, found {self.share!r}.")

    @classmethod
    def read(cls, budget: Mapping[str, Any] | None) -> Self | None:
        """Read a budget as Python and recipes write it, ``{"latency": 0.5, "runtime": "eager"}``; None is none.

        Raises:
            ConversionError: It has another form.
        """
        if budget is None or (isinstance(budget, Mapping) and "max_drop" in budget):
            return None
        costs = [str(cost) for cost in Cost]
        rest = dict(budget) if isinstance(budget, Mapping) else {}
        runtime = read_word("budget runtime", str(rest.pop("runtime", Runtime.EAGER)), Runtime)
        if len(rest) == 1:
            ((by, share),) = rest.items()
            if by in costs and isinstance(share, int | float) and not isinstance(share, bool):
                return cls(Cost(by), share, runtime)
        raise ConversionError(
            f"budget: one key, {' or '.join(costs)}, with a number is needed, as {{'macs': 0.5}}, and runtime beside "
            f"it if need be, found {budget!r}."
        )


@dataclass(frozen=True)
class MaxDrop:
    """How much of a score may be lost, and the cost that is made as small as that allows.

    Attributes:
        points: Points of the score, at least 0.
        by: The cost that is made smallest.
        runtime: What runs whatever is measured.

    Raises:
        ConversionError: The points are no such number.
    """

    points: float
    by: Cost = Cost.MACS
    runtime: Runtime = Runtime.EAGER

    def __post_init__(self) -> None:
        is_number = isinstance(self.points, int | float) and not isinstance(self.points, bool)
        if not is_number or not 0 <= self.points < math.inf:
            raise ConversionError(
                f"budget max_drop: points, a number of at least 0, are needed, found {self.points!r}."
            )
        object.__setattr__(self, "by", read_word("budget by", self.by, Cost))

    @classmethod
    def read(cls, budget: Mapping[str, Any] | None) -> Self | None:
        """Read ``{"max_drop": 1.0, "by": "macs"}``, as Python and recipes write it; None where it is no such budget.

        Raises:
            ConversionError: It has another form.
        """
        if not isinstance(budget, Mapping) or "max_drop" not in budget:
            return None
        if unknown := [key for key in budget if key not in ("max_drop", "by", "runtime")]:
            raise ConversionError(f"budget: max_drop goes with by alone, found {unknown[0]!r} as well.")
        runtime = read_word("budget runtime", str(budget.get("runtime", Runtime.EAGER)), Runtime)
        return cls(budget["max_drop"], budget.get("by", Cost.MACS), runtime)


@dataclass(frozen=True)
class Request:
    """What a conversion is asked for.

    Words may be given as plain text. Exactly one of ``budget`` and ``rank`` is given.

    Attributes:
        budget: What the network may cost afterwards.
        max_drop: How much of its score it may lose, in place of a budget.
        rank: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``), alike in every
            layer, or ``full``: as many as make the layer exact, whatever they cost.
        method: How the weights are derived; ``auto`` keeps them.
        order: Which convolution comes first; ``auto`` is for each layer the one that loses less at its price under
            a budget, and the first of the structures where the rank is given.
        structures: What a convolution may become: ``dw_pw`` and ``pw_dw`` where its kernel has several positions,
            ``low_rank`` where it has one.
        form: How an input channel reaches several kernels, wherever a layer can take it; ``auto`` is by layer.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        norm_between: Put a norm and an activation between the two convolutions; with the method ``fresh`` only.
        only_faster: Keep dense what measures no faster.
        seed: Seed of whatever weights are drawn.

    Raises:
        ConversionError: The request is contradictory, or a word is unknown.
    """

    budget: Budget | None = None
    max_drop: MaxDrop | None = None
    rank: Rank | None = None
    method: Method = Method.AUTO
    order: Order = Order.AUTO
    structures: Sequence[Structure] = SEPARABLE
    form: Form = Form.AUTO
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    norm_between: bool = False
    only_faster: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget is not None and self.max_drop is not None:
            raise ConversionError("budget: max_drop stands in place of a share, found both. Leave one of the two out.")
        _check_target(self.budget or self.max_drop, self.rank)
        for name, words in (("method", Method), ("order", Order), ("form", Form)):
            object.__setattr__(self, name, read_word(name, getattr(self, name), words))
        for name in ("include", "exclude"):
            _require_list(name, "patterns", getattr(self, name))
        structures = read_words("structures", self.structures, Structure)
        object.__setattr__(self, "structures", tuple(dict.fromkeys(structures)))
        self._check_structures()
        if self.norm_between and self.derivation is not Method.FRESH:
            raise ConversionError(
                f"norm_between: goes with method fresh only, found {str(self.derivation)!r}: weights that are kept "
                f"would mean something else behind a norm and an activation. Set method=fresh, or leave norm_between "
                f"out."
            )

    def _check_structures(self) -> None:
        found = [str(structure) for structure in self.structures]
        if not found:
            raise ConversionError(f"structures: at least one of {', '.join(Structure)} is needed, found none.")
        if self.order is not Order.AUTO and str(self.order) not in found:
            raise ConversionError(
                f"order: {self.order} is asked for, and is none of the structures, found {found}. Add it there, or "
                f"leave order out."
            )
        if self.norm_between and Structure.LOW_RANK in self.structures:
            raise ConversionError("norm_between: goes with dw_pw and pw_dw, found low_rank among the structures.")

    def at(self, budget: Budget) -> Request:
        """Return the request with a budget in place of what it may lose."""
        return replace(self, budget=budget, max_drop=None)

    @property
    def orders(self) -> tuple[Order, ...]:
        """Which convolution may come first in a separable layer, the preferred order first."""
        if self.order is not Order.AUTO:
            return (self.order,)
        orders = tuple(Order(each) for each in self.structures if each is not Structure.LOW_RANK)
        return orders if self.rank is None else orders[:1]

    @property
    def runtime(self) -> Runtime:
        """What runs whatever is measured."""
        target = self.budget or self.max_drop
        return target.runtime if target is not None else Runtime.EAGER

    @property
    def derivation(self) -> Method:
        """The method that ``auto`` stands for, or the one that was named."""
        return Method.SVD if self.method is Method.AUTO else self.method


def read_word(argument: str, value: str, words: type[Word]) -> Word:
    """Return the member of a closed list that a text names.

    Raises:
        ConversionError: It names none.
    """
    known = [str(word) for word in words]
    if value not in known:
        raise ConversionError(
            f"{argument}: one of {', '.join(known)} is needed, found {value!r}.{did_you_mean(value, known)}"
        )
    return words(value)


def read_words(argument: str, values: Sequence[str], words: type[Word]) -> list[Word]:
    """Return the members of a closed list that texts name.

    Raises:
        ConversionError: One names none, or it is no list.
    """
    _require_list(argument, "words", values)
    return [read_word(argument, value, words) for value in values]


def _require_list(argument: str, what: str, values: Sequence[str]) -> None:
    if isinstance(values, str):
        raise ConversionError(f"{argument}: a list of {what} is needed, such as [{values!r}], found {values!r}.")


def _check_target(budget: Budget | MaxDrop | None, rank: Rank | None) -> None:
    if (budget is None) == (rank is None):
        found = "neither" if budget is None else "both"
        raise ConversionError(f"exactly one of budget and rank is needed, found {found}.")
    is_number = isinstance(rank, int) and not isinstance(rank, bool)
    if rank is not None and rank != "full" and not (is_number and int(rank) >= 1):
        raise ConversionError(f"rank: a whole number of at least 1, or 'full', is needed, found {rank!r}.")
