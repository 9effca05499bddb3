from __future__ import annotations

import numpy as np
from PIL import Image

from dsft.tasks.detection import DrawnBox, draw_boxes
from dsft.tasks.pictures import class_colours


def test_boxes_are_outlined_in_the_colour_of_their_class_and_labelled_inside() -> None:
    image = Image.new("L", (200, 100), 77)
    plain = np.asarray(image.convert("RGB"))
    box = DrawnBox((20.0, 10.0, 180.0, 90.0), 2, "cat", 0.5)
    drawn = np.asarray(draw_boxes(image, [box]))
    colour = class_colours(4)[3]
    for row, column in ((10, 100), (89, 100), (50, 20), (50, 179)):
        np.testing.assert_array_equal(drawn[row, column], colour)
    # Nothing outside of the box changes, and inside of it only the label.
    outside = np.ones((100, 200), bool)
    outside[10:90, 20:180] = False
    np.testing.assert_array_equal(drawn[outside], plain[outside])
    np.testing.assert_array_equal(drawn[40:88, 22:178], plain[40:88, 22:178])
    named = np.asarray(draw_boxes(image, [box._replace(name="dog")]))
    assert (named[12:40, 22:178] != drawn[12:40, 22:178]).any()
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), plain)


def test_the_highest_scores_are_drawn_over_the_others() -> None:
    image = Image.new("RGB", (100, 100))
    first, second = DrawnBox((10.0, 10.0, 90.0, 90.0), 0, "a", 0.9), DrawnBox((10.0, 10.0, 90.0, 90.0), 1, "b", 0.8)
    drawn = np.asarray(draw_boxes(image, [first, second]))
    np.testing.assert_array_equal(drawn[89, 50], class_colours(2)[1])


def test_boxes_without_area_or_beyond_the_border_are_drawn_without_an_error() -> None:
    image = Image.new("RGB", (30, 20))
    boxes = [DrawnBox((5.0, 5.0, 5.0, 5.0), 300, "a"), DrawnBox((-9.0, -9.0, 99.0, 99.0), 1, "b", 1.0)]
    assert draw_boxes(image, boxes).size == (30, 20)
