"""A learning-rate range test as a picture."""

from __future__ import annotations

from pathlib import Path

from dsft.report.figures import BLUE, GREY, ORANGE, drawing
from dsft.training import RangeTest

_ROOM = 0.15  # of the span of the losses, above the first one


def plot_rates(test: RangeTest, path: Path) -> None:
    """Draw the loss against the learning rate into a PNG file, with the suggestion.

    Args:
        test: What the range test saw.
        path: The PNG file; it is written whole or not at all.
    """
    with drawing(path) as figure:
        axes = figure.add_subplot()
        axes.plot(test.rates, test.losses, color=GREY, linewidth=0.8, label="each step")
        axes.plot(test.rates, test.smoothed, color=BLUE, label="smoothed")
        if test.suggestion is not None:
            height = test.smoothed[test.rates.index(test.suggestion)]
            axes.plot([test.suggestion], [height], "o", color=ORANGE, label=f"suggested: {test.suggestion:.1e}")
        # Where the loss blows up it would press the part that matters into a line.
        least, first = min(test.smoothed), max(test.smoothed[0], test.losses[0])
        room = _ROOM * max(first - least, 0.1 * abs(first))
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss (nats)", ylim=(least - room, first + 2 * room))
        axes.grid()
        axes.legend()
