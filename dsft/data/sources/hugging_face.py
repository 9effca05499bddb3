"""Hugging Face data sets, saved on disk or downloaded from the hub on request."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from dsft.choices import SplitName
from dsft.data.decoding import decode_image
from dsft.data.sources.images import ImageSource
from dsft.data.sources.naming import parse_split, sorted_labels
from dsft.errors import DataError
from dsft.number_format import plural
from dsft.progress import Note, Report, Warn, ignore
from dsft.storage import at_home


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A split of a Hugging Face data set; a key consists of the split's name and the number of the row.

    Attributes:
        origin: Name of the source in messages.
        classes: The class names.
        keys: Key of each image.
        targets: Class of each image.
        rows: The ``datasets.Dataset``, with undecoded images.
        column: The column of the images.
        sizes: Size of each image file in bytes.
    """

    origin: str
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    targets: tuple[int, ...]
    rows: Any
    column: str
    sizes: Sequence[int]
    in_memory: ClassVar[bool] = False

    def identity(self, index: int) -> str:
        """Return the size of the image file in bytes."""
        return str(self.sizes[index])

    def read(self, index: int) -> Image.Image:
        """Decode one image (see :func:`dsft.data.decoding.decode_image`)."""
        value = self.rows[index][self.column] or {}
        if value.get("bytes") is not None:
            return decode_image(value["bytes"], self.keys[index])
        if value.get("path") is None:
            raise DataError(f"{self.keys[index]!r} of {self.origin}: the row has no image. Remove it.")
        return decode_image(Path(value["path"]), value["path"])


def open_hf(
    name: str | None, root: Path | None, *, download: bool, report: Report = ignore
) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a Hugging Face data set.

    The images are in the column with the feature ``Image``. The classes are in the column with the feature
    ``ClassLabel``, or else in ``label`` or ``labels``.

    Args:
        name: Name on the hub, such as ``user/birds``; None for a folder written by ``save_to_disk``.
        root: That folder or, with a name, the folder for downloads (None: the cache of ``datasets``).
        download: Download missing files.
        report: Receives the sizes of the splits, and warnings about ignored ones.

    Raises:
        DataError: ``datasets`` is not installed, the data set is missing, or it lacks a column or a train split.
    """
    library = import_datasets()
    opened = _from_disk(library, root) if name is None else _from_hub(library, name, root, download)
    parts = opened if isinstance(opened, dict) else {"train": opened}
    origin = name or str(root)
    sources: dict[SplitName, ImageSource] = {}
    for own, rows in parts.items():
        split = parse_split(str(own))
        if split is None:
            report(Warn(f"data: the split {own!r} of {origin!r} is not train, val or test and is ignored"))
        else:
            sources[split] = _source(library, origin, split, rows)
    if SplitName.TRAIN not in sources:
        raise DataError(f"data: {origin!r} must have a train split, found {list(parts)}.")
    report(Note(f"data: {', '.join(f'{len(rows.targets):,} {part}' for part, rows in sources.items())} rows"))
    return sources


def import_datasets() -> Any:
    """Import the package ``datasets``.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise DataError("data.source hf needs the package datasets. Install it: pip install 'dsft[hf]'") from error


def _from_disk(library: Any, root: Path | None) -> Any:
    folder = at_home(root or "")
    try:
        return library.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.root {str(folder)!r}: must be a folder written by save_to_disk of the package datasets ({error})."
        ) from error


def _from_hub(library: Any, name: str, root: Path | None, download: bool) -> Any:
    if not download:
        # The library would query the hub for a newer version of a cached data set, too.
        raise DataError(
            f"data.name {name!r}: a data set of the hub needs data.download=true. To work offline, save it once with "
            "load_dataset(...).save_to_disk(FOLDER), and set data.root=FOLDER without data.name."
        )
    try:
        return library.load_dataset(name, cache_dir=str(at_home(root)) if root is not None else None)
    except Exception as error:  # the library, archives and the network raise errors of many types
        raise DataError(f"data.name {name!r}: cannot be loaded ({type(error).__name__}: {error}).") from error


def _source(library: Any, origin: str, split: SplitName, rows: Any) -> ImageTable:
    image, label = _columns(library, origin, rows)
    values, feature = list(rows[label]), rows.features[label]
    # The library encodes a missing class as -1.
    has_names = isinstance(feature, library.ClassLabel)
    if missing := sum(value is None or (has_names and value < 0) for value in values):
        raise DataError(f"data: {missing:,} of {plural(len(values), 'row')} of {origin!r} ({split}) have no class.")
    several = next((value for value in values if isinstance(value, list | dict)), None)
    if several is not None:
        raise DataError(
            f"data: {origin!r} ({split}): the column {label} must contain one class per image, found {several!r}. Use "
            "a CSV file for images with several labels (data.source=csv)."
        )
    if has_names:
        classes, targets = tuple(feature.names), tuple(map(int, values))
    else:
        texts = [str(value) for value in values]
        classes = sorted_labels(texts)
        targets = tuple(map(classes.index, texts))
    rows = rows.select_columns([image]).cast_column(image, library.Image(decode=False))
    keys = tuple(f"{split}/{number:0{len(str(len(targets)))}d}" for number in range(len(targets)))
    return ImageTable(f"{origin} ({split})", classes, keys, targets, rows, image, _sizes(rows, image))


def _columns(library: Any, origin: str, rows: Any) -> tuple[str, str]:
    """Return the names of the columns with the images and the classes."""
    images = [name for name, feature in rows.features.items() if isinstance(feature, library.Image)]
    labels = [name for name, feature in rows.features.items() if isinstance(feature, library.ClassLabel)]
    labels = labels or [name for name in ("label", "labels") if name in rows.features]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"data: {origin!r} must have one column of images (datasets.Image) and one of classes "
            f"(datasets.ClassLabel, or named label), found {images} and {labels} among {list(rows.features)}."
        )
    return images[0], labels[0]


def _sizes(rows: Any, image: str) -> Sequence[int]:
    """Return the size of each image in bytes without reading it; Arrow stores the lengths."""
    compute: Any = importlib.import_module("pyarrow.compute")
    column = rows.with_format("arrow")[:][image]
    lengths = compute.binary_length(compute.struct_field(column, "bytes")).to_pylist()
    paths = compute.struct_field(column, "path").to_pylist()
    return [_file_size(path) if length is None else length for length, path in zip(lengths, paths, strict=True)]


def _file_size(path: str | None) -> int:
    if path is None:
        return -1
    try:
        return Path(path).stat().st_size
    except OSError:  # the loader handles unreadable images
        return -1
