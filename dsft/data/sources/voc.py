"""Images with boxes in Pascal VOC's XML format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from dsft.choices import SplitName
from dsft.data.boxes import as_boxes
from dsft.data.sources.box_files import BoxFiles
from dsft.data.sources.folder import list_images, require_folder, split_folders
from dsft.data.sources.images import ImageSource
from dsft.data.sources.naming import describe_splits
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", Path("ImageSets") / "Main"


@dataclass(frozen=True)
class _Object:
    """A box of an annotation, and the name of its class."""

    name: str
    box: tuple[float, float, float, float]
    is_difficult: bool


def open_voc(
    root: Path, class_names: Sequence[str] | None = None, report: Report = ignore
) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a data set with boxes in Pascal VOC's format.

    Either ``root`` contains the folders ``JPEGImages`` and ``Annotations``, which the lists in ``ImageSets/Main``
    divide and which are ``train`` without them; or each of ``train`` and optionally ``val`` and ``test`` contains these
    folders. Objects that are marked as difficult are crowds.

    Args:
        root: The folder.
        class_names: The class table; None for the names that occur in a split, in alphabetical order.
        report: Receives which folder is used for which split.

    Raises:
        DataError: A folder is missing or empty, or an image has no annotation.
    """
    root = at_home(root)
    require_folder(root)
    if (root / IMAGES).is_dir():
        splits = dict(_listed_splits(root)) or {SplitName.TRAIN: (root, None)}
    else:
        splits = {split: (folder, None) for split, folder in split_folders(root).items()}
    if SplitName.TRAIN not in splits:
        raise DataError(
            f"data.root {str(root)!r}: must contain the folders {IMAGES!r} and {ANNOTATIONS!r}, or train, val and test "
            "with these folders in them."
        )
    report(describe_splits({split: folder for split, (folder, _) in splits.items()}))
    return {split: _read_split(folder, stems, class_names) for split, (folder, stems) in splits.items()}


def _listed_splits(root: Path) -> Iterable[tuple[SplitName, tuple[Path, frozenset[str] | None]]]:
    for split in SplitName:
        file = root / LISTS / f"{split}.txt"
        if file.is_file():
            yield split, (root, frozenset(file.read_text(encoding="utf-8").split()))


def _read_split(folder: Path, stems: frozenset[str] | None, class_names: Sequence[str] | None) -> BoxFiles:
    inside = folder / IMAGES
    if not inside.is_dir() or not (folder / ANNOTATIONS).is_dir():
        raise DataError(f"data: {str(folder)!r} must contain the folders {IMAGES!r} and {ANNOTATIONS!r}.")
    paths = [path for path in list_images(inside) if stems is None or path.stem in stems]
    if not paths:
        raise DataError(f"data: {str(inside)!r} contains no images of this split.")
    keys = [path.relative_to(inside) for path in paths]
    found = [_read_objects(folder / ANNOTATIONS / key.with_suffix(".xml")) for key in keys]
    names = {each.name for objects in found if not isinstance(objects, str) for each in objects}
    classes = tuple(class_names) if class_names is not None else tuple(sorted(names))
    if unknown := sorted(names - set(classes)):
        raise DataError(f"data.class_names: must name every class of {str(folder)!r}, {unknown[0]!r} is missing.")
    numbers = {name: number for number, name in enumerate(classes)}
    annotations = tuple(
        objects
        if isinstance(objects, str)
        else as_boxes([[*each.box, numbers[each.name], float(each.is_difficult)] for each in objects])
        for objects in found
    )
    return BoxFiles(inside, classes, tuple(key.as_posix() for key in keys), annotations)


def _read_objects(file: Path) -> list[_Object] | str:
    """Return the objects of an annotation file, or why it cannot be read."""
    try:
        # expat limits the expansion of entities itself.
        tree = ET.parse(file)  # noqa: S314
        return [_read_object(each) for each in tree.iterfind("object")]
    except FileNotFoundError:
        reason = "there is no such file"
    except (OSError, ET.ParseError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
    return (
        f"annotation {str(file)!r}: must be an XML file with object entries that have a name and a bndbox, found "
        f"{reason}. Repair it."
    )


def _read_object(entry: ET.Element) -> _Object:
    name, box = entry.findtext("name"), entry.find("bndbox")
    if not name or box is None:
        raise ValueError("an object without name or bndbox")
    left, top, right, bottom = (float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
    # The pixels at the corners are counted from 1 and belong to the box.
    return _Object(name, (left - 1, top - 1, right, bottom), (entry.findtext("difficult") or "0").strip() == "1")
