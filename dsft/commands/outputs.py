"""An output folder and what a command reads are kept apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsft.data.sources import has_splits
from dsft.errors import OutputError


def require_apart(folder: Path, inputs: Iterable[str | None]) -> None:
    """Check that a folder that is about to be replaced holds nothing that the command reads.

    Raises:
        OutputError: It does.
    """
    for name in inputs:
        path = Path(name or "").expanduser()
        if name is not None and path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"output folder {str(folder)!r}: holds {name!r}, which this command reads, so it cannot be replaced. "
                "Choose another folder."
            )


def require_outside(folder: Path, images: str | None) -> None:
    """Check that an output folder is not about to be written among the classes of a folder of images.

    Args:
        folder: The output.
        images: The folder of images; a file, which holds no folder, and None are no matter.

    Raises:
        OutputError: It is: from then on it would be a class, its pictures images.
    """
    root = Path(images or "").expanduser().resolve()
    is_inside = images is not None and root != folder.resolve() and folder.resolve().is_relative_to(root)
    if is_inside and root.is_dir() and not has_splits(root):
        raise OutputError(
            f"output folder {str(folder)!r}: lies in the data {images!r}, whose folders are its classes. Choose one "
            "outside of it."
        )
