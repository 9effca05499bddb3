"""Checks that an output folder does not overlap with what the command reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsft.choices import DataSource
from dsft.data.sources import has_splits, is_hidden
from dsft.data.sources.volumes import has_masks
from dsft.errors import OutputError
from dsft.recipe.data_sources import DATA_SOURCES
from dsft.recipe.sections import DataSection
from dsft.storage import at_home


def require_apart(folder: Path, inputs: Iterable[str | None]) -> None:
    """Check that a folder that will be replaced contains no input of the command.

    Raises:
        OutputError: It contains one.
    """
    for name in inputs:
        path = at_home(name or "")
        if name is not None and path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"output folder {str(folder)!r}: contains {name!r}, which this command reads, so it cannot be "
                "replaced. Choose another folder."
            )


def require_outside(folder: Path, data: DataSection) -> None:
    """Check that an output folder is not inside a folder of classes, where it would count as one from then on.

    Raises:
        OutputError: It is.
    """
    if not DATA_SOURCES[data.source].has_class_folders or data.root is None:
        return
    root, place = at_home(data.root).resolve(), folder.resolve()
    if not root.is_dir() or root == place or not place.is_relative_to(root):
        return
    if data.source is DataSource.VOLUMES and has_masks(root):
        return
    # Hidden folders, and folders beside train, val and test, do not count as classes.
    if not any(map(is_hidden, place.relative_to(root).parts)) and not has_splits(root):
        raise OutputError(
            f"output folder {str(folder)!r}: is inside the data folder {data.root!r}, where it would count as a "
            "class. Choose a folder outside of it."
        )
