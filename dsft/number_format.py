"""How numbers are written, in the same way on the terminal, in reports and in messages."""

from __future__ import annotations


def count(number: int) -> str:
    """Return a large count with three significant digits and a unit prefix, such as ``35.4 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        scaled = number / size
        # A number that rounds up to the next prefix is written with that one.
        if scaled >= 0.9995:
            return f"{scaled:.0f} {unit}" if scaled >= 999.5 else f"{scaled:.3g} {unit}"
    return str(number)


def percent_hint(found: float) -> str:
    """Return how a percentage is written as a fraction, to append to a message; empty if it is probably none."""
    return f" For {found:g} % write {found / 100:g}." if 5 <= found <= 100 else ""


def plural(number: int, noun: str, plural_noun: str | None = None) -> str:
    """Return a number with its noun in singular or plural, such as ``1 image`` or ``1,258 images``.

    Args:
        number: How many.
        noun: The singular.
        plural_noun: The plural; by default ``noun`` with an ``s``, or with ``es`` after a sibilant (``class``,
            ``batch``).
    """
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "tch", "sh")) else "s"
    return f"{number:,} {plural_noun or noun + ending}"
