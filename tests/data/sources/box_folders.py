"""The same six images with boxes, written in the format of each source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from dsft.choices import SplitName

SIZE = (40, 30)
CLASSES = ("cat", "dog")

Box = tuple[float, float, float, float, str]
"""Left, top, right, bottom and the class."""

BOXES: Mapping[SplitName, Mapping[str, list[Box]]] = {
    SplitName.TRAIN: {
        "a.png": [(4, 6, 20, 26, "dog"), (10, 0, 40, 30, "cat")],
        "b.png": [(0, 0, 8, 8, "cat")],
        "c.png": [],
        "d.png": [(2, 3, 30, 28, "dog")],
    },
    SplitName.VAL: {"e.png": [(5, 5, 25, 25, "dog")]},
    SplitName.TEST: {"f.png": [(1, 2, 39, 29, "cat")]},
}


def write_images(folder: Path, split: SplitName) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(BOXES[split]):
        Image.new("RGB", SIZE, (40 * index, 90 * list(BOXES).index(split), 7)).save(folder / name)


def coco_document(split: SplitName) -> dict[str, Any]:
    """Return a COCO file; the ids of images and categories have gaps, and neither starts at 0."""
    numbers = {"cat": 7, "dog": 3}
    images = [{"id": 10 * i + 5, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(BOXES[split])]
    annotations = [
        {
            "id": 100 * i + k,
            "image_id": 10 * i + 5,
            "category_id": numbers[name],
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }
        for i, boxes in enumerate(BOXES[split].values())
        for k, (left, top, right, bottom, name) in enumerate(boxes)
    ]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    for split in SplitName:
        write_images(root / f"{split}2017", split)
        file = root / "annotations" / f"instances_{split}2017.json"
        file.write_text(json.dumps(coco_document(split)), encoding="utf-8")
    (root / "annotations" / "captions_train2017.json").write_text("{}", encoding="utf-8")


def write_voc(root: Path) -> None:
    for split in SplitName:
        write_images(root / split / "JPEGImages", split)
        (root / split / "Annotations").mkdir()
        for name, boxes in BOXES[split].items():
            objects = "".join(
                f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{left + 1}</xmin>"
                f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
                for left, top, right, bottom, label in boxes
            )
            text = f"<annotation><filename>{name}</filename>{objects}</annotation>"
            (root / split / "Annotations" / name).with_suffix(".xml").write_text(text, encoding="utf-8")


def write_yolo(root: Path) -> None:
    width, height = SIZE
    for split in SplitName:
        write_images(root / "images" / split, split)
        (root / "labels" / split).mkdir(parents=True)
        for name, boxes in BOXES[split].items():
            lines = [
                f"{CLASSES.index(label)} {(left + right) / 2 / width} {(top + bottom) / 2 / height} "
                f"{(right - left) / width} {(bottom - top) / height}\n"
                for left, top, right, bottom, label in boxes
            ]
            # Images without objects often have no file.
            if lines:
                (root / "labels" / split / name).with_suffix(".txt").write_text("".join(lines), encoding="utf-8")
    (root / "data.yaml").write_text("train: images/train\nnames: {0: cat, 1: dog}\n", encoding="utf-8")


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
