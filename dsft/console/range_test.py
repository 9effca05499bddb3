"""What a learning-rate range test found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsft.training import RangeTest


def range_test_sentences(test: RangeTest) -> list[str]:
    """Say which rate is suggested and why, and where the range was too narrow to tell."""
    sentences = []
    if test.suggestion is None:
        sentences.append("no suggestion: the loss did not fall. Try --high, more --steps, or other settings.")
    else:
        sentences.append(
            f"suggested: optim.lr={test.suggestion:.2g}, where the loss falls fastest; "
            f"it was lowest at {test.lowest:.2g}"
        )
    if not test.diverged:
        sentences.append(f"the loss had not blown up at {test.rates[-1]:.2g}: a wider range (--high) may show more")
    return sentences
