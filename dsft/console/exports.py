"""How an exported file compares with its model, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsft.export import Int8, Parity


def parity_sentence(parity: Parity) -> str:
    """Say how far the answers of a float32 file are from the model's."""
    return (
        f"parity on {parity.images} images: largest logit difference {parity.largest_difference:.2e} "
        f"({parity.relative_difference:.1e} of the largest logit), same top-1 on {parity.agreement:.2%}"
    )


def int8_sentence(int8: Int8) -> str:
    """Say what 8 bits cost."""
    sentence = (
        f"int8, calibrated on {int8.images} images: largest logit difference {int8.largest_difference:.2g}, same "
        f"top-1 on {int8.agreement:.2%}"
    )
    if int8.top1_float is None or int8.top1_int8 is None:
        return sentence
    return f"{sentence}; top-1 {int8.top1_int8:.2f} instead of {int8.top1_float:.2f}"
