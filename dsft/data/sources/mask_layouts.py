"""Where data sets of images with masks have their files: own folders, Pascal VOC, and Cityscapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsft.choices import MaskLayout, SplitName
from dsft.data.sources.folder import list_images, require_folder
from dsft.data.sources.picture_pairs import PicturePair, find_pairs
from dsft.errors import DataError
from dsft.progress import Report

Found = dict[SplitName, tuple[Path, tuple[PicturePair, ...]]]
"""The folder and the pairs of each split."""

_VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
_CITYSCAPES_CLASSES = (
    "road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky person rider car truck "
    "bus train motorcycle bicycle"
)
_CITYSCAPES_IMAGE, _CITYSCAPES_MASK = "_leftImg8bit.png", "_gtFine_labelTrainIds.png"


@dataclass(frozen=True)
class MaskLayoutEntry:
    """A layout.

    Attributes:
        find: Returns the folder and the pairs of each split of a root.
        classes: The class names in the order of the indices; empty if each data set has its own.
    """

    find: Callable[[Path, Report], Found]
    classes: tuple[str, ...] = ()


def _find_voc(root: Path, report: Report) -> Found:
    """Read the lists in ``ImageSets/Segmentation``."""
    del report
    require_folder(root)
    lists = root / "ImageSets" / "Segmentation"
    files = {split: lists / f"{split}.txt" for split in SplitName if (lists / f"{split}.txt").is_file()}
    if SplitName.TRAIN not in files:
        raise DataError(f"data.root {str(root)!r}: layout voc needs the list {str(lists / 'train.txt')!r}, found none.")
    found: Found = {}
    for split, file in files.items():
        names = file.read_text(encoding="utf-8").split()
        pairs = (PicturePair(name, *_voc_files(root, name)) for name in names)
        found[split] = (root, tuple(pairs))
        _require_pairs(found[split][1], str(file))
    return found


def _voc_files(root: Path, name: str) -> tuple[Path, Path]:
    return root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"


def _find_cityscapes(root: Path, report: Report) -> Found:
    """Match ``leftImg8bit/SPLIT/CITY`` with ``gtFine/SPLIT/CITY``; a test split without masks is left out."""
    del report
    require_folder(root)
    found: Found = {}
    for split in SplitName:
        images, masks = (root / name / split.value for name in ("leftImg8bit", "gtFine"))
        files = list_images(images) if images.is_dir() else []
        pairs = tuple(_cityscapes_pair(file, masks) for file in files if file.name.endswith(_CITYSCAPES_IMAGE))
        if split is SplitName.TEST and not any(pair.target.is_file() for pair in pairs):
            continue
        if pairs or split is SplitName.TRAIN:
            _require_pairs(pairs, str(images))
            found[split] = (images, pairs)
    return found


def _cityscapes_pair(image: Path, masks: Path) -> PicturePair:
    city, stem = image.parent.name, image.name.removesuffix(_CITYSCAPES_IMAGE)
    return PicturePair(f"{city}/{stem}", image, masks / city / f"{stem}{_CITYSCAPES_MASK}")


def _require_pairs(pairs: tuple[PicturePair, ...], where: str) -> None:
    if not pairs:
        raise DataError(f"data: {where!r} names no images, and some are needed.")
    missing = [file for pair in pairs for file in (pair.image, pair.target) if not file.is_file()]
    if missing:
        is_index = missing[0].name.endswith(_CITYSCAPES_MASK)
        advice = "Write it with cityscapesscripts (csCreateTrainIdLabelImgs)." if is_index else "Add it."
        raise DataError(
            f"data: {where!r}: {len(missing):,} files of its images and masks are missing, such as "
            f"{str(missing[0])!r}. {advice}"
        )


MASK_LAYOUTS: Mapping[MaskLayout, MaskLayoutEntry] = {
    MaskLayout.FOLDERS: MaskLayoutEntry(lambda root, report: find_pairs(root, "images", "masks", report)),
    MaskLayout.VOC: MaskLayoutEntry(_find_voc, tuple(_VOC_CLASSES.split())),
    MaskLayout.CITYSCAPES: MaskLayoutEntry(_find_cityscapes, tuple(_CITYSCAPES_CLASSES.split())),
}
