"""An output folder and what a command reads are kept apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsft.errors import OutputError


def require_apart(folder: Path, inputs: Iterable[str | None]) -> None:
    """Check that a folder that is about to be replaced holds nothing that the command reads.

    Raises:
        OutputError: It does.
    """
    for name in inputs:
        if name is not None and Path(name).exists() and Path(name).resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"output folder {str(folder)!r}: holds {name!r}, which this command reads, so it cannot be replaced. "
                "Choose another folder."
            )
