"""Images of the training split, without labels, that the weights of a converted network are fitted to."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dsft.assembly.data import load_split, open_splits
from dsft.assembly.held_out import Training, record_training
from dsft.choices import DataSource, SplitName
from dsft.data import Split
from dsft.data.sources import ImageFiles
from dsft.data.sources.folder import list_images
from dsft.devices import Compute
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import Preprocessing
from dsft.progress import Report
from dsft.recipe import load_recipe
from dsft.recipe.sections import DataSection

CALIBRATION_IMAGES = 512
"""Images that the weights are fitted to where no number is given."""

BATCH = 16
"""Images that pass through a network at a time: what is kept between layers grows with it."""


@dataclass(frozen=True)
class CalibrationImages:
    """Batches as a network takes them, ``(batch, channels, height, width)``, and what using them is on record as."""

    batches: tuple[Tensor, ...] = ()
    training: Training | None = None

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The training that the images come from, where they have classes and splits."""
        return () if self.training is None else (self.training,)


def draw_calibration(
    train: Split, section: DataSection, preprocessing: Preprocessing, compute: Compute, images: int, seed: int
) -> tuple[Tensor, ...]:
    """Draw images of the training split, with the evaluation transform.

    Args:
        train: The split.
        section: How its images are read.
        preprocessing: What the network takes.
        compute: Where it runs.
        images: How many images, at most.
        seed: Of the draw.
    """
    chosen = sorted(random.Random(seed).sample(train.indices, min(images, len(train))))  # noqa: S311 (no secret)
    split = dataclasses.replace(train, indices=tuple(chosen))
    loader = load_split(split, section.model_copy(update={"batch_size": BATCH}), preprocessing, compute)
    return tuple(compute.place(batch.images) for batch in loader.epoch(0))


def open_calibration(
    place: str, preprocessing: Preprocessing, compute: Compute, images: int, seed: int, report: Report
) -> CalibrationImages:
    """Draw the images that a recipe or a folder names; those that val and test hold out stay out.

    Args:
        place: A recipe, whose data section counts; a folder with one folder a class, which is split as a recipe with
            defaults would split it; or a folder of images without classes.
        preprocessing: What the network takes.
        compute: Where it runs.
        images: How many images, at most.
        seed: Of the draw.
        report: Receives what is worth knowing of the data.

    Raises:
        InputError: The recipe, the folder or an image is at fault.
    """
    folder = Path(place)
    if folder.is_dir() and not any(entry.is_dir() for entry in folder.iterdir()):
        section, train = DataSection(source=DataSource.FOLDER, root=place), _unlabelled(folder)
        return CalibrationImages(draw_calibration(train, section, preprocessing, compute, images, seed))
    section = DataSection(source=DataSource.FOLDER, root=place) if folder.is_dir() else _section_of(place)
    splits = open_splits(section, report)
    batches = draw_calibration(splits.train, section, preprocessing, compute, images, seed)
    return CalibrationImages(batches, record_training(section, splits))


def _section_of(place: str) -> DataSection:
    try:
        return load_recipe(place).data
    except RecipeError as error:
        if Path(place).exists():
            raise
        raise RecipeError(
            f"calibration: a folder of images or a recipe is needed; there is no such folder, and {error}"
        ) from error


def _unlabelled(folder: Path) -> Split:
    files = list_images(folder)
    if not files:
        raise DataError(f"calibration {str(folder)!r}: a folder with images is needed, found none in it.")
    source = ImageFiles(folder, ("unlabelled",), tuple(file.name for file in files), (0,) * len(files))
    return Split(SplitName.TRAIN, source, tuple(range(len(files))), source.classes)
