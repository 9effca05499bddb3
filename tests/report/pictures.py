"""What tests of pictures share: reading them back, and images of a data set to draw."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from dsft.choices import SplitName
from dsft.data import Split, held_out_split
from dsft.data.sources.images import ImageArray
from dsft.evaluation import Evaluation

ODD_NAMES = ["$5", "a_b^{", "牛", "a very long name of a class, too long to be drawn as it is", "\\alpha $x$\nb", ""]


def pixels_of(path: Path, colour: str, tolerance: float = 0.1) -> NDArray[np.bool_]:
    """Return where a picture has a colour, as booleans ``(height, width)``."""
    picture = matplotlib.image.imread(path)[..., :3]
    return np.asarray(np.abs(picture - np.array(to_rgb(colour))).max(axis=2) < tolerance)


def split_of(pixels: NDArray[np.uint8], targets: list[int], classes: list[str]) -> Split:
    """Return a test split of images in memory."""
    source = ImageArray("memory", tuple(classes), pixels, tuple(targets))
    return held_out_split(SplitName.TEST, source, tuple(classes))


def evaluation_of(logits: torch.Tensor, split: Split) -> Evaluation:
    """Score answers on a split."""
    targets, positions = torch.tensor(split.targets), torch.arange(len(split))
    return Evaluation(logits, targets, positions, classes=split.classes, split_name="test", skipped=0)
