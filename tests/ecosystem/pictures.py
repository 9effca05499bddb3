"""Fifty pictures of ../shared/data with masks or boxes, as tensors."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.cifar import DATA

CELLS = ("Platelets", "RBC", "WBC")
BLOOD = DATA / "bccd" / "train"
ROADS = DATA / "camvid" / "train"
VOID = 11
"""The class of CamVid's pixels that belong to none of the eleven."""


def blood_cells(count: int = 50) -> list[tuple[Path, tuple[int, int], list[tuple[int, tuple[float, ...]]]]]:
    """Return files with their size, and class and corners of each box in pixels."""
    rows = []
    for path in sorted((BLOOD / "JPEGImages").iterdir())[:count]:
        root = ET.parse(BLOOD / "Annotations" / f"{path.stem}.xml").getroot()  # noqa: S314 (the project's own files)
        width, height = (int(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        boxes = [
            (
                CELLS.index(item.findtext("name") or ""),
                tuple(float(item.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")),
            )
            for item in root.iter("object")
        ]
        rows.append((path, (width, height), boxes))
    return rows


def roads(count: int = 50, size: tuple[int, int] = (96, 64)) -> tuple[Tensor, Tensor]:
    """Return images ``(count, 3, height, width)`` and masks ``(count, height, width)`` with the void as 255."""
    images, masks = [], []
    for path in sorted((ROADS / "images").iterdir())[:count]:
        images.append(np.asarray(Image.open(path).convert("RGB").resize(size)))
        masks.append(
            np.asarray(
                Image.open((ROADS / "masks" / path.name).with_suffix(".png")).resize(size, Image.Resampling.NEAREST)
            )
        )
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    targets = torch.from_numpy(np.stack(masks)).long()
    return (pixels - 0.45) / 0.25, targets.masked_fill(targets == VOID, 255)
