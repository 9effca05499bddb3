"""How figures and durations are written, in the same way on a terminal and in a log."""

from __future__ import annotations

from collections.abc import Mapping


def figure(value: float, digits: int = 4) -> str:
    """Return a number with ``digits`` significant digits, but with all digits before the decimal point."""
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"


def figures(values: Mapping[str, float]) -> list[str]:
    """Return every value as ``name number``, with trailing zeros, so that changing values keep their length."""
    return [f"{name} {value:#.4g}" for name, value in values.items()]


def duration(seconds: float) -> str:
    """Return a time as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
