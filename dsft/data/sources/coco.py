"""Images with boxes in COCO's JSON format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dsft.choices import SplitName
from dsft.data.boxes import as_boxes
from dsft.data.sources.box_files import BoxFiles
from dsft.data.sources.folder import require_folder, require_portable, split_folders
from dsft.data.sources.images import ImageSource
from dsft.data.sources.naming import describe_splits
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

_SPLIT_WORDS = {"train": SplitName.TRAIN, "val": SplitName.VAL, "valid": SplitName.VAL, "test": SplitName.TEST}
_SPLIT_IN_NAME = re.compile(r"(?:^|[_.-])(train|valid|val|test)(\d*)(?:$|[_.-])")


def open_coco(root: Path, report: Report = ignore) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a data set with boxes in COCO's format.

    The annotations are in ``annotations/*.json`` with ``train``, ``val`` or ``test`` in their names, such as
    ``instances_train2017.json``; or a JSON file is in each of the folders ``train`` and optionally ``val`` and
    ``test``; or one is in ``root`` itself, and is ``train``. Images are in the folder of their split, or in
    ``images``.

    Args:
        root: The folder.
        report: Receives which file is used for which split.

    Raises:
        DataError: The folder or an annotation is missing or damaged.
    """
    root = at_home(root)
    require_folder(root)
    files = _annotation_files(root)
    if SplitName.TRAIN not in files:
        raise DataError(
            f"data.root {str(root)!r}: must contain annotations/*.json with 'train' in a name, a folder 'train' with "
            "a JSON file, or one JSON file, found none of these."
        )
    report(describe_splits({split: file for split, (file, _) in files.items()}))
    return {split: read_coco(file, folders) for split, (file, folders) in files.items()}


def read_coco(file: Path, folders: Iterable[Path]) -> BoxFiles:
    """Read an annotation file; the images are in the first of the folders that contains one of them.

    Categories are numbered in the order of their ids, which may have gaps.

    Raises:
        DataError: It is no such file, or an entry names an unknown image or category.
    """
    document = _read_json(file)
    try:
        categories = sorted((int(each["id"]), str(each["name"])) for each in document["categories"])
        images = {each["id"]: require_portable(Path(each["file_name"]).as_posix()) for each in document["images"]}
        numbers = {identifier: number for number, (identifier, _) in enumerate(categories)}
        rows: dict[Any, list[list[float]]] = {identifier: [] for identifier in images}
        for each in document["annotations"]:
            if each["image_id"] not in rows or each["category_id"] not in numbers:
                raise DataError(_unknown(file, each, rows))
            left, top, width, height = map(float, each["bbox"])
            number, is_crowd = numbers[each["category_id"]], float(bool(each.get("iscrowd", 0)))
            rows[each["image_id"]].append([left, top, left + width, top + height, number, is_crowd])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"annotations {str(file)!r}: must be a COCO file with images, annotations (image_id, category_id, bbox of "
            f"four numbers) and categories, found {type(error).__name__}: {error}."
        ) from error
    classes, keys = tuple(name for _, name in categories), tuple(images.values())
    _require_distinct(file, "categories", classes)
    _require_distinct(file, "images", keys)
    return BoxFiles(_folder_of(keys, folders, file), classes, keys, tuple(map(as_boxes, rows.values())))


def _annotation_files(root: Path) -> dict[SplitName, tuple[Path, list[Path]]]:
    """Return the annotation file of each split, and where its images may be."""
    inside = root / "annotations"
    if inside.is_dir():
        found: dict[SplitName, tuple[Path, list[Path]]] = {}
        for file in sorted(inside.glob("*.json")):
            named = _SPLIT_IN_NAME.search(file.stem)
            # The other files of COCO's own have captions and key points.
            if named and not file.stem.startswith(("captions", "person_keypoints", "stuff", "panoptic", "image_info")):
                folder = named.group(1) + named.group(2)
                at = [root / folder, root / "images" / folder, root / named.group(1), root / "images", root]
                split = _SPLIT_WORDS[named.group(1)]
                if split in found:
                    both = f"{found[split][0].name!r} and {file.name!r}"
                    raise DataError(f"data: {str(inside)!r} must have one file for {split}, found {both}.")
                found[split] = (file, at)
        return found
    if own := sorted(root.glob("*.json")):
        return {SplitName.TRAIN: (_only(root, own), [root, root / "images"])}
    folders = split_folders(root, must_have_folders=False)
    return {
        split: (_only(folder, sorted(folder.glob("*.json"))), [folder, folder / "images"])
        for split, folder in folders.items()
    }


def _only(folder: Path, files: list[Path]) -> Path:
    if len(files) != 1:
        found = " and ".join(repr(file.name) for file in files) or "none"
        raise DataError(f"data: {str(folder)!r} must contain one JSON file of annotations, found {found}.")
    return files[0]


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"annotations {str(file)!r}: cannot be read as JSON ({error}).") from error


def _unknown(file: Path, entry: Mapping[str, Any], images: Mapping[Any, Any]) -> str:
    key = "image_id" if entry["image_id"] not in images else "category_id"
    listed = "images" if key == "image_id" else "categories"
    return (
        f"annotations {str(file)!r}: annotation {entry.get('id')} has {key} {entry[key]!r}, which is not among its "
        f"{listed}. Add it there, or remove the annotation."
    )


def _require_distinct(file: Path, what: str, names: tuple[str, ...]) -> None:
    if not names or len(set(names)) != len(names):
        twice = next((name for name in names if names.count(name) > 1), None) if names else None
        found = "none" if twice is None else f"{twice!r} twice"
        raise DataError(f"annotations {str(file)!r}: needs {what} with distinct names, found {found}.")


def _folder_of(keys: tuple[str, ...], folders: Iterable[Path], file: Path) -> Path:
    tried = list(folders)
    for folder in tried:
        # Single images may be missing; the loader handles them.
        if any((folder / key).is_file() for key in keys[:20]):
            return folder
    raise DataError(
        f"annotations {str(file)!r}: none of its images, such as {keys[0]!r}, is in "
        f"{', '.join(repr(str(folder)) for folder in tried)}. Put them into one of these folders."
    )
