"""Which output folders a command may replace."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from dsft.errors import OutputError
from dsft.storage import require_empty


def require_replaceable(folder: Path, kind: str, marks: Collection[str], *, overwrite: bool) -> None:
    """Check that a command may write a folder; change nothing.

    Args:
        folder: The output folder; it need not exist.
        kind: What the command writes, such as ``run``.
        marks: The files by which an earlier one is known.
        overwrite: An earlier one may be replaced.

    Raises:
        OutputError: The folder is not empty, and either ``overwrite`` is off or it is no earlier one.
    """
    require_empty(folder, overwrite=overwrite)
    is_ours = all((folder / name).is_file() for name in marks)
    if folder.is_dir() and any(folder.iterdir()) and not is_ours:
        raise OutputError(
            f"output folder {str(folder)!r}: only an earlier {kind} of dsft is overwritten, found other files "
            f"(no {' and '.join(marks)}). Choose another folder."
        )


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
