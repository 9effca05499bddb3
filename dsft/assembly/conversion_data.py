"""The images of a conversion: training images calibrate it, the val split scores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dsft.assembly.calibration import draw_calibration
from dsft.assembly.data import open_splits
from dsft.assembly.held_out import Training
from dsft.assembly.named_data import NamedData
from dsft.assembly.network import Network
from dsft.choices import DataSource, SplitName
from dsft.data import Split
from dsft.data.inputs import INPUTS
from dsft.data.sources import ExampleFiles, ImageFiles, SignalFiles
from dsft.data.sources.folder import is_hidden, list_files
from dsft.devices import Compute
from dsft.errors import CheckpointError, DataError
from dsft.progress import Note, Report, Warn
from dsft.recipe.sections import DataSection
from dsft.storage import at_home

_FILES: Mapping[DataSource, type[ExampleFiles]] = {DataSource.FOLDER: ImageFiles, DataSource.AUDIO: SignalFiles}
"""The files of a folder without labels, by the source of a folder with labels."""

CALIBRATION_IMAGES = 512
"""Default number of calibration images."""


@dataclass(frozen=True)
class ConversionData:
    """An open data set.

    Attributes:
        section: Where it is and how it is read.
        train: The split from which calibration images are drawn.
        val: The split that scores; None for a folder of images without labels.
    """

    section: DataSection
    train: Split
    val: Split | None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The class table, sorted by name; None if the images have no labels."""
        return self.train.classes if self.val is not None else None

    def calibration(
        self, network: Network, compute: Compute, images: int, seed: int, report: Report
    ) -> tuple[Tensor, ...]:
        """Draw calibration images, as batches that the network takes.

        Args:
            network: The network.
            compute: Where it runs.
            images: How many images, at most.
            seed: Seed of the draw.
            report: Receives how many there are.
        """
        batches = draw_calibration(self.train, self.section, network.preprocessing, compute, images, seed)
        report(
            Note(
                f"calibration: {sum(map(len, batches)):,} {self.train.input_kind.plural} of "
                f"{self.train.source.origin!r}"
            )
        )
        return batches

    def record(self, used: Sequence[SplitName], network: Network) -> tuple[Training, ...]:
        """Return the record of a conversion that used these splits, unless the network's trainings cover it.

        Images without labels have no splits and leave no record.
        """
        if self.val is None:
            return ()
        parts = {SplitName.TRAIN: self.train, SplitName.VAL: self.val}
        fingerprints = {name.value: parts[name].fingerprint for name in used}
        known = any(fingerprints.items() <= training.fingerprints.items() for training in network.trainings)
        return () if known else (Training(self.section.model_dump(mode="json"), fingerprints),)


def open_conversion_data(named: NamedData, network: Network, model: str, report: Report) -> ConversionData | None:
    """Open the data that the command line names, or that the model records.

    A folder with one folder per class is split as a recipe with default settings splits it.

    Args:
        named: What the command line says.
        network: The network.
        model: Its name, for messages.
        report: Receives the sizes of the splits, and a warning if the recorded data cannot be used.

    Returns:
        The data; None if nothing is named, and the model records no data or its data cannot be used any more.

    Raises:
        InputError: The named data is missing or invalid.
    """
    recorded = network.trainings[-1] if network.trainings else None
    if named.name is not None:
        section = named.section(recorded, model)
        unlabelled = _find_unlabelled(section, model, network) if named.is_image_folder else None
        return ConversionData(section, unlabelled, None) if unlabelled is not None else _open(section, report)
    if recorded is None:
        named.require_unchanged(model)
        return None
    try:
        return _open(named.section(recorded, model), report)
    except (DataError, CheckpointError) as error:
        report(Warn(f"the data that {model!r} records cannot be used: {error}"))
        return None


def _open(section: DataSection, report: Report) -> ConversionData:
    splits = open_splits(section, report)
    return ConversionData(section, splits.train, splits.val)


def _find_unlabelled(section: DataSection, model: str, network: Network) -> Split | None:
    """Return the files that lie in a folder itself, which have no labels; None if it has one folder per class.

    Some files beside many in folders are an error of the data set, which opening it reports.
    """
    if section.source not in _FILES or section.root is None:
        return None
    folder, kind = at_home(section.root), _FILES[section.source]
    everything = list_files(folder, INPUTS[kind.input_kind].extensions)
    files = [file for file in everything if file.parent == folder]
    if files and 2 * len(files) >= len(everything):
        source = kind(folder, ("unlabelled",), tuple(file.name for file in files), (0,) * len(files))
        return Split(SplitName.TRAIN, source, tuple(range(len(files))), source.classes)
    noun = kind.input_kind.plural
    if not any(entry.is_dir() and not is_hidden(entry.name) for entry in folder.iterdir()):
        raise DataError(f"--data {str(folder)!r}: expected a folder with {noun}, found none in it.")
    if network.task.labels is None:
        raise DataError(
            f"--data {str(folder)!r}: expected a folder with {noun}, found {len(files)} in it and folders, which are "
            f"no classes for {model!r}, whose task is {network.task.name}. Give the folder that holds the {noun} "
            "themselves, or a recipe."
        )
    return None
