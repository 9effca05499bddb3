"""Boxes drawn onto a copy of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from dsft.tasks.pictures import class_colours

_LETTERS, _LINES = 32, 250  # parts of the shorter side that a letter is high, and a line is wide
_BRIGHT = 140  # luma, 0 to 255, of colours on which black letters are read more easily than white ones


class DrawnBox(NamedTuple):
    """A box with its label.

    Attributes:
        sides: Left, top, right and bottom in pixels.
        number: Index of the class, which chooses the colour.
        name: Name of the class.
        score: The score, 0 to 1; None for a true box.
    """

    sides: tuple[float, float, float, float]
    number: int
    name: str
    score: float | None = None


def draw_boxes(image: Image.Image, boxes: Sequence[DrawnBox]) -> Image.Image:
    """Return an RGB copy of an image with boxes, each with the name of its class and its score.

    Args:
        image: The image.
        boxes: The boxes; those with the highest scores, which come first, are drawn last and cover the others.
    """
    drawn, shorter = image.convert("RGB"), min(image.size)
    draw, width = ImageDraw.Draw(drawn), max(2, shorter // _LINES)
    font = ImageFont.load_default(max(10, shorter // _LETTERS))
    colours = class_colours(256)
    for box in reversed(boxes):
        red, green, blue = (int(part) for part in colours[1 + box.number % 255])
        left, top, right, bottom = box.sides
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=(red, green, blue), width=width)
        label = box.name if box.score is None else f"{box.name} {box.score:.2f}"
        place = (left + width, top + width)
        draw.rectangle(draw.textbbox(place, label, font=font), fill=(red, green, blue))
        is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > _BRIGHT
        draw.text(place, label, fill="black" if is_bright else "white", font=font)
    return drawn
