"""How figures and events read, alike on a terminal and in a log."""

from __future__ import annotations

from collections.abc import Mapping

from dsft.progress import EpochDone, Note, Warn


def figure(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, and all of those before the decimal point."""
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"


def figures(values: Mapping[str, float]) -> list[str]:
    """Return every value as ``name=number``."""
    return [f"{name}={figure(value)}" for name, value in values.items()]


def duration(seconds: float) -> str:
    """Return a time as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sentence(event: EpochDone | Note | Warn) -> str:
    """Return the line that stands for an event for good."""
    match event:
        case EpochDone(epoch, epochs, values, best):
            # Where in the run it is, the line begins with.
            shown = {name: value for name, value in values.items() if name not in ("epoch", "step")}
            head = f"epoch {epoch:>{len(str(epochs))}}/{epochs} {'best' if best else '    '}"
            return "  ".join([head, *figures(shown)])
        case Warn(message):
            return f"warning: {message}"
        case Note(message):
            return message
