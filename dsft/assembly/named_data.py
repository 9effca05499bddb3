"""Which data a command works on: those that ``--data`` names, or those that the model's folder records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsft.artifact.manifest import MANIFEST_FILE
from dsft.assembly.held_out import Training
from dsft.choices import DataSource, TaskName
from dsft.data.decoding import IMAGE_EXTENSIONS
from dsft.data.nifti import NIFTI_EXTENSIONS
from dsft.data.sound import SOUND_EXTENSIONS
from dsft.data.sources.folder import has_extension
from dsft.data.video import VIDEO_EXTENSIONS
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import ImageSize
from dsft.recipe import Recipe, load_recipe, override_data
from dsft.recipe.sections import DataSection
from dsft.run_files import RECIPE_FILE, RUN_FILE
from dsft.storage import at_home


@dataclass(frozen=True)
class NamedData:
    """What the command line says about the data.

    Attributes:
        name: ``--data``: a recipe, the folder of a run, or a folder of images; None for the data that the model's
            folder records.
        overrides: Changes to the data section, as ``data.seed=1``.
        argument: Where it is named, for messages.
    """

    name: str | None = None
    overrides: tuple[str, ...] = ()
    argument: str = "--data"

    @property
    def is_image_folder(self) -> bool:
        """Whether a folder of images is named."""
        if self.name is None:
            return False
        folder = at_home(self.name)
        return folder.is_dir() and not any((folder / name).is_file() for name in (RECIPE_FILE, RUN_FILE))

    @property
    def draws_splits(self) -> bool:
        """Whether the changes say how splits are drawn."""
        drawn = ("data.val", "data.test", "data.seed")
        return any(change.lstrip("~").startswith(drawn) for change in self.overrides)

    @property
    def task(self) -> TaskName | None:
        """The task of the recipe or run that is named; None if none is named, since folders and records state no task.

        Raises:
            RecipeError: The recipe is missing or invalid.
        """
        return None if self.name is None or self.is_image_folder else self._read_recipe(self.name).task

    @property
    def image_size(self) -> ImageSize | None:
        """The image size that the named data states; None if it states none, or no data is named.

        Raises:
            InputError: What is named is neither a folder nor a recipe, or is invalid.
        """
        return None if self.name is None else self.section(None, "").image_size

    def require_present(self) -> None:
        """Check that what is named exists, before anything is loaded.

        Raises:
            InputError: It is neither a folder nor a recipe.
        """
        if self.name is not None:
            self.section(None, "")

    def require_unchanged(self, model: str) -> None:
        """Check that no changes are given where there is no data.

        Raises:
            RecipeError: There are some.
        """
        if self.overrides:
            raise RecipeError(
                f"{self.overrides[0]!r}: changes the data, and {model!r} comes without any. Name some with --data "
                "RECIPE|FOLDER, or leave it out."
            )

    def section(self, recorded: Training | None, model: str) -> DataSection:
        """Return the data section.

        Args:
            recorded: The last training of the model, which is used where no data is named; None if unknown.
            model: The model, for messages.

        Raises:
            RecipeError: The recipe is missing or invalid, a run's folder has no recipe, or an override is invalid.
            DataError: Nothing is named, and the model records no data.
            CheckpointError: The recorded data is of another version, or its place was not published.
        """
        if self.is_image_folder:
            self._refuse_model_folder(self.name or "")
            return override_data(folder_section(at_home(self.name or "")), self.overrides)
        if self.name is not None:
            return self._read_recipe(self.name).data
        if recorded is None:
            raise DataError(f"model {model!r}: records no data. Give it with --data RECIPE|FOLDER.")
        return override_data(recorded.section(), self.overrides)

    def _read_recipe(self, name: str) -> Recipe:
        path = at_home(name)
        if path.is_dir() and not (path / RECIPE_FILE).is_file():
            raise RecipeError(
                f"{self.argument} {name!r}: the folder of this run has no {RECIPE_FILE}. Give a recipe, or a folder of "
                "images or other inputs."
            )
        if path.suffix.lower() == ".csv":
            raise RecipeError(
                f"{self.argument} {name!r}: expected a recipe or a folder, found a table. Give a recipe with data: "
                f"{{source: csv}} or {{source: text}}; where a model records its own table, data.root={name} names "
                "another."
            )
        try:
            return load_recipe(str(path), self.overrides)
        except RecipeError as error:
            if path.exists():
                raise
            raise RecipeError(
                f"{self.argument}: expected a folder of images or other inputs, the folder of a run, or a recipe; "
                f"{error}"
            ) from error

    def _refuse_model_folder(self, name: str) -> None:
        if (Path(name) / MANIFEST_FILE).is_file():
            raise RecipeError(
                f"{self.argument} {name!r}: expected a recipe, or a folder of images or other inputs, found a model "
                "folder. Leave it out to use the data that the model records."
            )


def folder_section(folder: Path) -> DataSection:
    """Return the data section of a folder without a recipe, whose source is that of the first file that is known.

    A folder of sound, NumPy, NIfTI or video files is one of these, and any other one of images.
    """
    named = (entry.name for _, _, files in os.walk(folder, followlinks=True) for entry in map(Path, files))
    source = next((_SOURCES[own] for name in named for own in _SOURCES if has_extension(name, own)), DataSource.FOLDER)
    return DataSection(source=source, root=str(folder))


_SOURCES: Mapping[frozenset[str], DataSource] = {
    IMAGE_EXTENSIONS: DataSource.FOLDER,
    SOUND_EXTENSIONS: DataSource.AUDIO,
    frozenset({".npz"}): DataSource.ARRAYS,
    NIFTI_EXTENSIONS: DataSource.VOLUMES,
    VIDEO_EXTENSIONS: DataSource.VIDEO,
}
"""The source of a folder, by the endings of the first file in it that has one of these."""

RECORDED = NamedData()
"""The data that the model's folder records."""
