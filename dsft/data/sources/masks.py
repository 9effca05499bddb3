"""Images with masks that hold the class of each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import NO_CLASS, MaskLayout, SplitName, TargetKind
from dsft.data.decoding import open_image
from dsft.data.sources.images import ImageSource
from dsft.data.sources.mask_layouts import MASK_LAYOUTS
from dsft.data.sources.picture_pairs import PairedFiles
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

CLASSES_FILE = "classes.txt"


@dataclass(frozen=True)
class MaskFiles(PairedFiles):
    """Image files with mask files; a mask holds the class index of each pixel.

    Attributes:
        root: The folder, above ``images`` and ``masks``.
        classes: The class names.
        pairs: The files.
        ignore_index: The value of pixels without a class.
    """

    ignore_index: int
    target_kind: ClassVar[TargetKind] = TargetKind.MASK

    def read_target(self, index: int) -> Image.Image:
        """Decode a mask.

        Raises:
            DataError: It cannot be read, has colours instead of class indices, or an index beyond the class table.
        """
        path = self.pairs[index].target
        # The indices of a palette image are the classes, not its colours.
        mask = open_image(path)
        if mask.mode not in ("L", "P", "1", "I;16", "I"):
            raise DataError(
                f"mask {str(path)!r}: must hold one class index per pixel, found colours (mode {mask.mode}). Convert "
                "the colours to indices from 0 in the order of the class table."
            )
        return Image.fromarray(class_indices(np.asarray(mask), len(self.classes), self.ignore_index, path))


def class_indices(values: NDArray[Any], count: int, ignore_index: int, path: Path) -> NDArray[np.uint8]:
    """Return the values of a mask as class indices, in which 255 is no class.

    Args:
        values: Integers.
        count: Number of classes.
        ignore_index: The value of what has no class.
        path: The file, for messages.

    Raises:
        DataError: A value is beyond the class table.
    """
    values = values.astype(np.int64)
    is_ignored = values == ignore_index
    if unknown := np.unique(values[~is_ignored & ((values >= count) | (values < 0))]).tolist():
        raise DataError(
            f"mask {str(path)!r}: its values must be indices of the {count} classes, 0 to {count - 1}, or "
            f"{ignore_index} for no class, found {unknown[:5]}. Set data.ignore_index, or complete the class table."
        )
    return np.where(is_ignored, NO_CLASS, values).astype(np.uint8)


def open_masks(
    root: Path,
    class_names: Sequence[str] | str | None,
    ignore_index: int,
    report: Report = ignore,
    *,
    layout: MaskLayout = MaskLayout.FOLDERS,
) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a folder of images and masks.

    In the layout ``folders``, either ``root`` contains the folders ``images`` and ``masks``, which become ``train``, or
    each of ``train`` and optionally ``val`` and ``test`` contains them. A mask has the path of its image; the extension
    may differ. The others are the folders in which Pascal VOC and Cityscapes are distributed.

    Args:
        root: The folder.
        class_names: The class table: names, or a text file with one name per line; None for that of the layout, or for
            ``classes.txt`` in ``root``.
        ignore_index: The value of pixels without a class.
        report: Receives which folder is used for which split.
        layout: Where the files are.

    Raises:
        DataError: The folder or the class table is missing, an image has no mask, or the other way round.
    """
    root = at_home(root)
    chosen = MASK_LAYOUTS[layout]
    found = chosen.find(root, report)
    classes = class_table(root, class_names or chosen.classes or None)
    return {name: MaskFiles(folder, classes, pairs, ignore_index) for name, (folder, pairs) in found.items()}


def class_table(root: Path, given: Sequence[str] | str | None, least: int = 2) -> tuple[str, ...]:
    """Return class names that are given as a list or as a text file with one per line.

    Args:
        root: The folder of the data set.
        given: The names or the file; None for ``classes.txt`` in ``root``.
        least: Smallest number of names.

    Raises:
        DataError: The file is missing, or the names are not distinct.
    """
    if given is not None and not isinstance(given, str):
        names = tuple(given)
    else:
        path = root / CLASSES_FILE if given is None else at_home(Path(given))
        if not path.is_file():
            raise DataError(
                f"data.class_names: the names of the classes are needed, and there is no file {str(path)!r}. Write "
                "one with a name per line, in the order of the indices, or give a list of names."
            )
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    if not least <= len(names) <= NO_CLASS or len(set(names)) != len(names):
        raise DataError(
            f"data.class_names: from {least} to {NO_CLASS} distinct names are needed, found {len(names)} "
            f"({len(set(names))} distinct)."
        )
    return names
