from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsft.report.mistakes import plot_mistakes, worst_mistakes
from tests.report.pictures import ODD_NAMES, evaluation_of, pixels_of, split_of

CLASSES = ["ant", "bee", "cow"]
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def test_the_surest_mistake_comes_first_and_what_is_right_not_at_all() -> None:
    split = split_of(np.zeros((5, 4, 4), np.uint8), [0, 1, 2, 0, 1], CLASSES)
    logits = torch.tensor([[3.0, 0, 0], [2.0, 0, 0], [0, 5.0, 0], [0, 0, 1.0], [0, 9.0, 0]])
    found = worst_mistakes(evaluation_of(logits, split))
    assert [(one.position, one.target, one.predicted) for one in found] == [
        (2, "cow", "bee"),
        (1, "bee", "ant"),
        (3, "ant", "cow"),
    ]
    assert found[0].probability == pytest.approx(np.exp(5) / (np.exp(5) + 2))
    assert [one.position for one in worst_mistakes(evaluation_of(logits, split), most=1)] == [2]


def test_equally_sure_mistakes_keep_the_order_of_the_split() -> None:
    split = split_of(np.zeros((30, 4, 4), np.uint8), [0] * 30, CLASSES)
    found = worst_mistakes(evaluation_of(torch.tensor([[0.0, 2.0, 0.0]]).repeat(30, 1), split))
    assert [one.position for one in found] == list(range(24))


def test_each_mistake_is_drawn_with_its_own_image(tmp_path: Path) -> None:
    pixels = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in COLOURS.values()])
    split = split_of(pixels, [0, 1, 2], CLASSES)
    # Red is right; lime is the surer mistake of the two others, and so on the left.
    logits = torch.tensor([[3.0, 0, 0], [9.0, 0, 0], [0, 2.0, 0]])
    path = tmp_path / "mistakes.png"
    plot_mistakes(worst_mistakes(evaluation_of(logits, split)), split, path)
    assert not pixels_of(path, "red").any()
    assert np.nonzero(pixels_of(path, "lime"))[1].max() < np.nonzero(pixels_of(path, "blue"))[1].min()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_name_is_cut_off_at_the_edge(tmp_path: Path, count: int) -> None:
    split = split_of(np.zeros((count, 8, 8), np.uint8), [0] * count, ["a class of a long name", "the other of another"])
    plot_mistakes(
        worst_mistakes(evaluation_of(torch.tensor([[0.0, 1.0]]).repeat(count, 1), split)), split, tmp_path / "m.png"
    )
    with Image.open(tmp_path / "m.png") as image:
        pixels = np.asarray(image.convert("L"))
    edges = (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:])
    assert all((edge == 255).all() for edge in edges)


@pytest.mark.parametrize("shape", [(8, 8), (300, 20, 3), (1, 1, 3)])
@pytest.mark.parametrize("count", [1, 5])
def test_any_image_and_any_name_is_drawn(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    split = split_of(np.zeros((count, *shape), np.uint8), [number % 5 for number in range(count)], ODD_NAMES)
    logits = torch.eye(6)[[(number + 1) % 6 for number in range(count)]]
    plot_mistakes(worst_mistakes(evaluation_of(logits, split)), split, tmp_path / "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.width > 300 < image.height
