"""The parts of timm's transform pipelines, of which timm documents neither the number nor the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

_Step = Callable[[Any], Any]


def image_steps(steps: Sequence[_Step]) -> list[_Step]:
    """Return the steps from image to image, which come before the conversion to a tensor.

    They are found by applying the steps to a small image.

    Args:
        steps: The steps of an evaluation pipeline, none of which is random.
    """
    value: Any = Image.new("RGB", (16, 16))
    for number, step in enumerate(steps):
        value = step(value)
        if not isinstance(value, Image.Image):
            return list(steps[:number])
    return list(steps)
