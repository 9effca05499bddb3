"""Rules between the settings of a conversion, used for recipes and in Python."""

from __future__ import annotations

from collections.abc import Collection

from dsft.choices import Cost, Method, Structure

BUDGET_KEYS = (*map(str, Cost), "max_drop")
"""What a budget can limit; exactly one of them is given."""


def find_conflict(
    *, has_budget: bool, has_rank: bool, method: str, structures: Collection[str] | None, norm_between: bool
) -> str | None:
    """Return the first rule that settings of a conversion break, or None.

    Args:
        has_budget: Whether a budget is given.
        has_rank: Whether a rank is given.
        method: A :class:`~dsft.choices.Method`, or ``auto``.
        structures: The allowed structures; None for ``auto``.
        norm_between: Whether to put a norm and an activation between the two convolutions.

    Returns:
        The setting at fault, a colon and the rule, without a period.
    """
    if has_budget and has_rank:
        return (
            "exactly one of budget and rank is needed, found both. Remove one; on the command line ~convert.budget or "
            "~convert.rank does it"
        )
    if not has_budget and not has_rank:
        return "exactly one of budget and rank is needed, found neither. Add budget: {macs: 0.5} or rank: 2"
    if structures is not None and not structures:
        return f"structures: at least one of {', '.join(Structure)} is needed, found none"
    if norm_between and method != Method.FRESH:
        return (
            f"norm_between: requires method fresh, found method {str(method)!r}: weights that are kept do not fit a "
            "norm and an activation in between. Set method to fresh, or remove norm_between"
        )
    others = [name for name in structures or () if name not in (Structure.DW_PW, Structure.PW_DW)]
    if norm_between and others:
        return f"norm_between: requires the structures dw_pw or pw_dw, found {others[0]} among them"
    return None


def find_budget_conflict(keys: Collection[str]) -> str | None:
    """Return the first rule that the keys of a budget break, or None.

    Args:
        keys: The keys that are given, of ``BUDGET_KEYS``, ``by`` and ``runtime``.
    """
    limits = [key for key in BUDGET_KEYS if key in keys]
    if len(limits) != 1:
        return f"exactly one of {', '.join(BUDGET_KEYS)} is needed, found {' and '.join(limits) or 'none'}"
    if "by" in keys and "max_drop" not in keys:
        return "by: names the cost that max_drop minimizes, so it requires max_drop"
    return None
