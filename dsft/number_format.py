"""How large numbers are written, alike on the terminal and in reports."""

from __future__ import annotations


def count(number: int) -> str:
    """Return a large count with three significant digits and its unit, as ``35.4 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        scaled = number / size
        # What rounds up to the next unit is shown in it.
        if scaled >= 0.9995:
            return f"{scaled:.0f} {unit}" if scaled >= 999.5 else f"{scaled:.3g} {unit}"
    return str(number)
