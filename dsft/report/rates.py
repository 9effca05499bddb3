"""The loss of a learning-rate range test, as a picture."""

from __future__ import annotations

from pathlib import Path

from dsft.report.figures import BLUE, GREY, ORANGE, drawing
from dsft.training import RangeTest

_MARGIN = 0.15  # of the range of the losses, above the first one


def plot_rates(test: RangeTest, path: Path) -> None:
    """Plot the loss against the learning rate into a PNG file, with the suggested rate.

    Args:
        test: Result of the range test.
        path: The PNG file; it is written completely or not at all.
    """
    with drawing(path) as figure:
        axes = figure.add_subplot()
        axes.plot(test.rates, test.losses, color=GREY, linewidth=0.8, label="per step")
        axes.plot(test.rates, test.smoothed, color=BLUE, label="smoothed")
        if test.suggestion is not None:
            height = test.smoothed[test.rates.index(test.suggestion)]
            axes.plot([test.suggestion], [height], "o", color=ORANGE, label=f"suggested: {test.suggestion:.1e}")
        # The axis ends above the first loss: a diverging loss would flatten the informative part.
        least, first = min(test.smoothed), max(test.smoothed[0], test.losses[0])
        margin = _MARGIN * max(first - least, 0.1 * abs(first))
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(least - margin, first + 2 * margin))
        axes.grid()
        axes.legend()
