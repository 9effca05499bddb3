"""The registry of data sources.

A new source is a file in this package and one entry here, with its word in :class:`dsft.choices.DataSource` and the
keys of the recipe that it takes in :mod:`dsft.recipe.data_sources`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsft.choices import NO_CLASS, DataSource, MaskLayout, SplitName
from dsft.data.sound import import_soundfile
from dsft.data.sources import (
    arrays,
    audio,
    coco,
    digits,
    folder,
    frames,
    hugging_face,
    masks,
    moving_digits,
    pairs,
    scenes,
    shards,
    solids,
    table,
    text,
    tones,
    torchvision,
    voc,
    volumes,
    yolo,
)
from dsft.data.sources.images import Source
from dsft.data.video import import_av
from dsft.progress import Report, ignore


@dataclass(frozen=True)
class DataLocation:
    """A data set, in the terms of the recipe's section ``data``.

    Attributes:
        source: The kind of source.
        root: Its folder or file, if the source takes one.
        name: Name of the data set, if the source takes one.
        download: Download missing files.
        label_separator: Separator between the labels of an image; None if an image has one class.
        class_names: Names of the classes of masks or boxes, or a file of them; None for those of the data set.
        ignore_index: The value of the pixels of masks without a class.
        layout: Where a data set with masks has its files.
        is_clean: The images are clean, and are degraded when they are read.
        groups: Groups of files that are the test split.
    """

    source: DataSource
    root: Path | None = None
    name: str | None = None
    download: bool = False
    label_separator: str | None = None
    class_names: Sequence[str] | str | None = None
    ignore_index: int = NO_CLASS
    layout: MaskLayout = MaskLayout.FOLDERS
    is_clean: bool = False
    groups: audio.Groups | None = None

    @property
    def path(self) -> Path:
        """The root of a source that cannot do without."""
        return self.root or Path()

    @property
    def listed_classes(self) -> Sequence[str] | None:
        """The class names of boxes.

        Raises:
            DataError: The file of names is missing, or they are not distinct.
        """
        return None if self.class_names is None else masks.class_table(self.path, self.class_names, least=1)


@dataclass(frozen=True)
class SourceEntry:
    """An entry of the registry.

    Attributes:
        open: Returns the splits that a data set defines; undivided data sets are ``train``.
        require_name: Raises a ``DataError`` if the source has no data set of a given name.
        require_package: Raises a ``DataError`` if a package that the source needs is not installed.
    """

    open: Callable[[DataLocation, Report], Mapping[SplitName, Source]]
    require_name: Callable[[str], object] | None = None
    require_package: Callable[[], object] | None = None


SOURCES: Mapping[DataSource, SourceEntry] = {
    DataSource.DIGITS: SourceEntry(lambda _, __: digits.open_digits()),
    DataSource.FOLDER: SourceEntry(lambda at, report: folder.open_folder(at.path, report)),
    DataSource.CSV: SourceEntry(lambda at, report: table.open_csv(at.path, report, separator=at.label_separator)),
    DataSource.TORCHVISION: SourceEntry(
        lambda at, report: torchvision.open_torchvision(at.name or "", at.path, download=at.download, report=report),
        require_name=torchvision.full_name,
    ),
    DataSource.HF: SourceEntry(
        lambda at, report: hugging_face.open_hf(at.name, at.root, download=at.download, report=report),
        require_package=hugging_face.import_datasets,
    ),
    DataSource.WDS: SourceEntry(lambda at, report: shards.open_wds(at.path, report)),
    DataSource.MASKS: SourceEntry(
        lambda at, report: masks.open_masks(at.path, at.class_names, at.ignore_index, report, layout=at.layout),
    ),
    DataSource.PAIRS: SourceEntry(
        lambda at, report: pairs.open_pairs(at.path, is_clean=at.is_clean, report=report),
    ),
    DataSource.COCO: SourceEntry(lambda at, report: coco.open_coco(at.path, report)),
    DataSource.VOC: SourceEntry(lambda at, report: voc.open_voc(at.path, at.listed_classes, report)),
    DataSource.YOLO: SourceEntry(lambda at, report: yolo.open_yolo(at.path, at.listed_classes, report)),
    DataSource.SCENES: SourceEntry(
        lambda at, _: scenes.open_scenes(at.name or ""),
        require_name=scenes.open_scenes,
    ),
    DataSource.AUDIO: SourceEntry(
        lambda at, report: audio.open_audio(at.path, at.groups, report),
        require_package=import_soundfile,
    ),
    DataSource.ARRAYS: SourceEntry(lambda at, report: arrays.open_arrays(at.path, report)),
    DataSource.TONES: SourceEntry(lambda _, __: tones.open_tones()),
    DataSource.FRAMES: SourceEntry(lambda at, report: frames.open_frames(at.path, report)),
    DataSource.VIDEO: SourceEntry(
        lambda at, report: frames.open_video(at.path, report),
        require_package=import_av,
    ),
    DataSource.MOVING_DIGITS: SourceEntry(lambda _, __: moving_digits.open_moving_digits()),
    DataSource.VOLUMES: SourceEntry(
        lambda at, report: volumes.open_volumes(at.path, at.class_names, at.ignore_index, at.groups, report)
    ),
    DataSource.SOLIDS: SourceEntry(lambda _, __: solids.open_solids()),
    DataSource.TEXT: SourceEntry(lambda at, report: text.open_text(at.path, report, separator=at.label_separator)),
}


def open_source(location: DataLocation, report: Report = ignore) -> Mapping[SplitName, Source]:
    """Return the splits that a data set defines; an undivided data set is all ``train``.

    Args:
        location: The data set.
        report: Receives messages and warnings of the source.

    Raises:
        DataError: The data set is missing, damaged or incomplete.
    """
    return SOURCES[location.source].open(location, report)
