"""Sentences about an exported file and its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsft.number_format import plural

if TYPE_CHECKING:
    from dsft.runtimes import Int8, Parity
    from dsft.tasks import MetricSpec


def parity_sentence(parity: Parity, answer: str) -> str:
    """Describe the differences between a float32 file and its model.

    Args:
        parity: The comparison.
        answer: Name of the prediction, such as ``top-1``.
    """
    return (
        f"parity on {plural(parity.images, 'input')}: largest output difference {parity.largest_difference:.2e} "
        f"({parity.relative_difference:.1e} of the largest output), same {answer} on {parity.agreement:.2%}"
    )


def int8_sentence(int8: Int8, answer: str, score: MetricSpec) -> str:
    """Describe the effect of the quantization.

    Args:
        int8: The comparison.
        answer: Name of the prediction, such as ``top-1``.
        score: The score.
    """
    sentence = (
        f"int8, calibrated on {plural(int8.images, 'input')}: largest output difference "
        f"{int8.largest_difference:.2g}, same {answer} on {int8.agreement:.2%}"
    )
    if int8.float_layers:
        sentence += f"; {float_layers_phrase(int8.float_layers)}"
    if int8.of_float is None or int8.of_int8 is None:
        return sentence
    return f"{sentence}; {score.label} {score.with_unit(int8.of_int8)} instead of {score.with_unit(int8.of_float)}"


def float_layers_phrase(names: Sequence[str]) -> str:
    """Return how many layers an int8 file has in float32, and their names."""
    return f"{plural(len(names), 'layer')} in float32: {', '.join(names)}"
