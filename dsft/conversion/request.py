"""The settings of a conversion, checked when they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dsft.choices import AUTO, Form, Method, Runtime, Structure
from dsft.conversion.budget import AnyBudget, Budget, MaxDrop, read_budget
from dsft.conversion.words import Auto, read_setting, read_word, read_words, require_list
from dsft.conversion_rules import find_conflict
from dsft.errors import ConversionError

SEPARABLE = (Structure.DW_PW, Structure.PW_DW)
"""The structures of one depthwise and one pointwise convolution."""

AUTO_STRUCTURES = (Structure.PW_DW_PW, *SEPARABLE)
"""The structures that a budget chooses from where they are ``auto``."""

Rank = int | Literal["full"]


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
            require_list(name, "patterns", getattr(self, name))
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

    @property
    def has_free_choice(self) -> bool:
        """Whether the structures and sizes that are fastest are chosen, since the request names no structures."""
        return self.structures == AUTO and self.rank is None and not self.norm_between

    @property
    def allowed_structures(self) -> tuple[Structure, ...]:
        """The structures that a convolution may be replaced by."""
        if self.structures == AUTO:
            return AUTO_STRUCTURES if self.has_free_choice else SEPARABLE
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
