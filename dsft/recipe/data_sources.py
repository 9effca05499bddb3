"""What each data source takes from a recipe, and what it can do.

A new source is a file in :mod:`dsft.data.sources`, its word in :class:`dsft.choices.DataSource`, and one line here and
in the registry of openers there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsft.choices import DataSource, InputKind, TargetKind

_PICTURES = frozenset({TargetKind.MASK, TargetKind.IMAGE})


@dataclass(frozen=True)
class DataSourceTraits:
    """The capabilities of a data source.

    Attributes:
        root: What ``data.root`` names; None if the source has no use for it.
        name: What ``data.name`` names; None if the source has no use for it.
        needs: Keys that must be given; of each group one is enough.
        can_download: The source downloads missing files with ``data.download``.
        has_label_sets: An image may have any number of labels, so that the source serves multi-label tasks.
        targets: The ground truths that the source can have for an example.
        inputs: What the examples are.
        has_groups: Examples may belong to groups, of which one may be held out.
        has_masks: The ground truth may be masks in files.
        has_class_names: The classes may be named by the recipe.
        has_class_folders: Where ``data.root`` is a folder, each folder in it may be a class.
    """

    root: str | None = None
    name: str | None = None
    needs: tuple[tuple[str, ...], ...] = ()
    can_download: bool = False
    has_label_sets: bool = False
    targets: tuple[TargetKind, ...] = (TargetKind.CLASS,)
    has_masks: bool = False
    has_class_names: bool = False
    inputs: InputKind = InputKind.IMAGE
    has_groups: bool = False
    has_class_folders: bool = False

    def accepts(self, key: str) -> bool:
        """Return whether the source has a use for a key of the section ``data``."""
        accepted = {
            "root": self.root is not None,
            "name": self.name is not None,
            "download": self.can_download,
            "label_separator": self.has_label_sets,
            "class_names": self.has_class_names,
            "ignore_index": self.has_masks,
            "layout": self.has_masks and self.inputs is InputKind.IMAGE,
            "degrade": TargetKind.IMAGE in self.targets,
            "image_size": self.inputs is InputKind.IMAGE,
            "letterbox": TargetKind.BOXES in self.targets,
            "window_overlap": not _PICTURES.isdisjoint(self.targets),
            "signal": self.inputs is InputKind.SIGNAL,
            "clip": self.inputs is InputKind.CLIP,
            "text": self.inputs is InputKind.TEXT,
            "groups": self.has_groups,
        }
        return accepted.get(key, True)


SOURCE_KEYS = (
    "root",
    "name",
    "download",
    "label_separator",
    "class_names",
    "ignore_index",
    "layout",
    "degrade",
    "image_size",
    "letterbox",
    "window_overlap",
    "signal",
    "clip",
    "text",
    "groups",
)
"""The keys of the section ``data`` that only some sources have a use for."""

DATA_SOURCES: Mapping[DataSource, DataSourceTraits] = {
    DataSource.DIGITS: DataSourceTraits(),
    DataSource.FOLDER: DataSourceTraits(
        root="a folder with one folder of images per class", needs=(("root",),), has_class_folders=True
    ),
    DataSource.CSV: DataSourceTraits(
        root="a CSV file", needs=(("root",),), has_label_sets=True, targets=(TargetKind.CLASS, TargetKind.LABELS)
    ),
    DataSource.TORCHVISION: DataSourceTraits(
        root="the folder of the data set",
        name="the name of the data set, such as CIFAR10",
        needs=(("root",), ("name",)),
        can_download=True,
    ),
    DataSource.HF: DataSourceTraits(
        root="the folder of a saved data set",
        name="its name on the hub with download: true",
        needs=(("root", "name"),),
        can_download=True,
    ),
    DataSource.WDS: DataSourceTraits(root="a folder of shards", needs=(("root",),)),
    DataSource.MASKS: DataSourceTraits(
        root="a folder of images and masks",
        needs=(("root",),),
        targets=(TargetKind.MASK,),
        has_masks=True,
        has_class_names=True,
    ),
    DataSource.PAIRS: DataSourceTraits(
        root="a folder with the folders input and target, or of clean images with data.degrade",
        needs=(("root",),),
        targets=(TargetKind.IMAGE,),
    ),
    DataSource.COCO: DataSourceTraits(
        root="a folder of images with COCO's JSON files", needs=(("root",),), targets=(TargetKind.BOXES,)
    ),
    DataSource.VOC: DataSourceTraits(
        root="a folder with the folders JPEGImages and Annotations",
        needs=(("root",),),
        targets=(TargetKind.BOXES,),
        has_class_names=True,
    ),
    DataSource.YOLO: DataSourceTraits(
        root="a folder with the folders images and labels",
        needs=(("root",),),
        targets=(TargetKind.BOXES,),
        has_class_names=True,
    ),
    DataSource.SCENES: DataSourceTraits(
        name="the task, segmentation, detection or restoration",
        needs=(("name",),),
        targets=(TargetKind.MASK, TargetKind.BOXES, TargetKind.IMAGE),
    ),
    DataSource.AUDIO: DataSourceTraits(
        root="a folder with one folder of sound files per class, or a table of them",
        needs=(("root",),),
        inputs=InputKind.SIGNAL,
        has_groups=True,
        has_class_folders=True,
    ),
    DataSource.ARRAYS: DataSourceTraits(
        root="a file .npz, or a folder of them",
        needs=(("root",),),
        targets=(TargetKind.CLASS, TargetKind.MASK),
        inputs=InputKind.SIGNAL,
    ),
    DataSource.TONES: DataSourceTraits(inputs=InputKind.SIGNAL),
    DataSource.FRAMES: DataSourceTraits(
        root="a folder with one folder per class, in which each video is a folder of images",
        needs=(("root",),),
        inputs=InputKind.CLIP,
        has_class_folders=True,
    ),
    DataSource.VIDEO: DataSourceTraits(
        root="a folder with one folder of video files per class",
        needs=(("root",),),
        inputs=InputKind.CLIP,
        has_class_folders=True,
    ),
    DataSource.MOVING_DIGITS: DataSourceTraits(inputs=InputKind.CLIP),
    DataSource.VOLUMES: DataSourceTraits(
        root="a folder with one folder of NIfTI or NumPy files per class, a table of them, or a folder of volumes and "
        "masks",
        needs=(("root",),),
        targets=(TargetKind.CLASS, TargetKind.MASK),
        has_masks=True,
        has_class_names=True,
        inputs=InputKind.SIGNAL,
        has_groups=True,
        has_class_folders=True,
    ),
    DataSource.SOLIDS: DataSourceTraits(inputs=InputKind.SIGNAL, targets=(TargetKind.MASK,)),
    DataSource.TEXT: DataSourceTraits(
        root="a CSV file, or a folder with train.csv",
        needs=(("root",),),
        has_label_sets=True,
        targets=(TargetKind.CLASS, TargetKind.LABELS),
        inputs=InputKind.TEXT,
    ),
}


def sources_with(key: str) -> str:
    """Return the sources that have a use for a key, such as ``torchvision or hf``."""
    return _listed([source for source, traits in DATA_SOURCES.items() if traits.accepts(key)])


def sources_of(kind: TargetKind) -> str:
    """Return the sources that can have a kind of ground truth."""
    return _listed([source for source, traits in DATA_SOURCES.items() if kind in traits.targets])


def _listed(sources: list[DataSource]) -> str:
    *others, last = sources
    return f"{', '.join(others)} or {last}" if others else last
