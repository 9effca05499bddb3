"""``dsft report``: write the page of a run or of an evaluation again, from its files."""

from __future__ import annotations

from pathlib import Path

from dsft.report import COMPARISON_FILE, write_comparison, write_report


def run(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run or of an evaluation, and return its path.

    Raises:
        InputError: The folder is neither a run nor an evaluation.
    """
    return write_comparison(folder) if (folder / COMPARISON_FILE).is_file() else write_report(folder)
