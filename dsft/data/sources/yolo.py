"""Images with boxes in YOLO's text format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dsft.choices import SplitName
from dsft.data.boxes import Boxes, as_boxes
from dsft.data.decoding import image_size
from dsft.data.sources.box_files import BoxFiles
from dsft.data.sources.folder import list_images, require_folder, split_folders
from dsft.data.sources.images import ImageSource
from dsft.data.sources.naming import describe_splits
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

IMAGES, LABELS = "images", "labels"


@dataclass(frozen=True, eq=False)
class YoloFiles(BoxFiles):
    """Image files with boxes in fractions of the image's sides."""

    def read_target(self, index: int) -> Boxes:
        """Return the boxes of an image in pixels, for which the image's size is read."""
        boxes = super().read_target(index)
        width, height = image_size(self.root / self.keys[index])
        return boxes * np.array([width, height, width, height, 1, 1], np.float32)


def open_yolo(
    root: Path, class_names: Sequence[str] | None = None, report: Report = ignore
) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a data set with boxes in YOLO's format.

    A text file has a line for each box: class, centre and size as fractions of the image; a line with more numbers is a
    polygon, whose bounds are taken. An image without a text file has no boxes. The files are in ``images`` and
    ``labels`` below the folders of the splits, or the other way round; undivided data is ``train``.

    Args:
        root: The folder.
        class_names: The class table; None for ``names`` in the one YAML file in ``root``.
        report: Receives which folder is used for which split.

    Raises:
        DataError: A folder or the class table is missing.
    """
    root = at_home(root)
    require_folder(root)
    folders = _folders(root)
    if SplitName.TRAIN not in folders:
        raise DataError(
            f"data.root {str(root)!r}: must contain the folders {IMAGES!r} and {LABELS!r}, or train, val and test with "
            "these folders in them or inside of both."
        )
    classes = tuple(class_names) if class_names is not None else _named_classes(root)
    report(describe_splits({split: images for split, (images, _) in folders.items()}))
    return {split: _read_split(images, labels, classes) for split, (images, labels) in folders.items()}


def _folders(root: Path) -> dict[SplitName, tuple[Path, Path]]:
    """Return the folders of images and labels of each split."""
    images, labels = root / IMAGES, root / LABELS
    if not images.is_dir():
        return {split: (folder / IMAGES, folder / LABELS) for split, folder in split_folders(root).items()}
    inside = split_folders(images, must_have_folders=False)
    return {split: (folder, labels / folder.name) for split, folder in inside.items()} or {
        SplitName.TRAIN: (images, labels)
    }


def _named_classes(root: Path) -> tuple[str, ...]:
    files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    names: Any = None
    if len(files) == 1:
        try:
            document = yaml.safe_load(files[0].read_text(encoding="utf-8"))
            names = document.get("names") if isinstance(document, dict) else None
        except (ValueError, yaml.YAMLError):
            names = None
    if isinstance(names, dict):
        names = [names[number] for number in sorted(names)] if sorted(names) == list(range(len(names))) else None
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
        raise DataError(
            f"data.class_names: give a list of names, or a YAML file in {str(root)!r} with distinct names of the "
            f"classes 0, 1, ... under the key names, found {len(files)} such files."
        )
    return tuple(map(str, names))


def _read_split(images: Path, labels: Path, classes: tuple[str, ...]) -> YoloFiles:
    if not images.is_dir() or not labels.is_dir():
        missing = labels if images.is_dir() else images
        raise DataError(f"data: there must be a folder {str(missing)!r}.")
    keys = [path.relative_to(images) for path in list_images(images)]
    if not keys:
        raise DataError(f"data: {str(images)!r} contains no images.")
    annotations = tuple(_read_boxes(labels / key.with_suffix(".txt"), len(classes)) for key in keys)
    return YoloFiles(images, classes, tuple(key.as_posix() for key in keys), annotations)


def _read_boxes(file: Path, num_classes: int) -> Boxes | str:
    """Return the boxes of a text file in fractions of the image, or why it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return as_boxes([_read_line(line.split(), num_classes) for line in lines if line.strip()])
    except (OSError, ValueError) as error:
        return (
            f"annotation {str(file)!r}: each line must have a class from 0 to {num_classes - 1} and centre, width and "
            f"height as fractions, found {error}. Repair it."
        )


def _read_line(words: Sequence[str], num_classes: int) -> list[float]:
    number, values = int(words[0]), [float(word) for word in words[1:]]
    if not 0 <= number < num_classes:
        raise ValueError(f"class {number}")
    if len(values) == 4:
        x, y, width, height = values
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2, number, 0.0]
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(words)} numbers in a line")
    return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]), number, 0.0]
