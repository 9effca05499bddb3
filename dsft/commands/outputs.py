"""An output folder and what a command reads are kept apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsft.choices import DataSource
from dsft.data.sources import has_splits, is_hidden
from dsft.errors import OutputError
from dsft.recipe.sections import DataSection
from dsft.storage import at_home


def require_apart(folder: Path, inputs: Iterable[str | None]) -> None:
    """Check that a folder that is about to be replaced holds nothing that the command reads.

    Raises:
        OutputError: It does.
    """
    for name in inputs:
        path = at_home(name or "")
        if name is not None and path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"output folder {str(folder)!r}: holds {name!r}, which this command reads, so it cannot be replaced. "
                "Choose another folder."
            )


def require_outside(folder: Path, data: DataSection) -> None:
    """Check that an output folder is not about to be written among the classes of a folder of images.

    Raises:
        OutputError: It is: from then on it would be a class, its pictures images.
    """
    if data.source is not DataSource.FOLDER or data.root is None:
        return
    root, place = at_home(data.root).resolve(), folder.resolve()
    if not root.is_dir() or root == place or not place.is_relative_to(root):
        return
    # Neither hidden folders count as classes, nor any beside those of the splits.
    if not any(map(is_hidden, place.relative_to(root).parts)) and not has_splits(root):
        raise OutputError(
            f"output folder {str(folder)!r}: lies in the data {data.root!r}, whose folders are its classes. Choose one "
            "outside of it."
        )
