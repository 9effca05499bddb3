"""Result of a learning-rate range test, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsft.training import RangeTest


def range_test_sentences(test: RangeTest) -> list[str]:
    """Return which rate is suggested and why, and whether the range was too narrow."""
    sentences = []
    if test.suggestion is None:
        sentences.append(
            "no suggestion: the loss did not decrease clearly within the range. Try more --steps, another --low or "
            "--high, or other settings."
        )
    else:
        sentences.append(
            f"suggested: optim.lr={test.suggestion:.2g}, where the loss decreases fastest; "
            f"it is lowest at {test.lowest:.2g}"
        )
    if not test.diverged:
        sentences.append(f"the loss has not diverged at {test.rates[-1]:.2g}: try a wider range (--high)")
    return sentences
