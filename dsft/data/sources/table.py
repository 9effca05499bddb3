"""A CSV file that lists images: a row each, with its path, its class and maybe its split."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dsft.choices import SplitName
from dsft.data.sources.images import ImageFiles, ImageSource
from dsft.data.sources.naming import named_split, sorted_labels
from dsft.errors import DataError, did_you_mean
from dsft.progress import Report, Warn, ignore

_NEEDED, _KNOWN = ("path", "label"), ("path", "label", "split")


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: SplitName


def open_csv(file: Path, report: Report = ignore) -> Mapping[SplitName, ImageSource]:
    """Return the splits that a CSV file lists.

    The first line names the columns: ``path`` (relative to the file's folder, or absolute), ``label`` and, where the
    data set is divided, ``split``. Other columns are passed over. The classes of every split are its labels; where
    all are whole numbers, in their order.

    Args:
        file: The CSV file, in UTF-8.
        report: Is told of files that are missing.

    Raises:
        DataError: It cannot be read, lacks a column or a value, names an image twice, or lists none to train on.
    """
    file = file.expanduser()
    rows = _read(file)
    _require_once(file, rows)
    parts = {name: [row for row in rows if row.split is name] for name in SplitName}
    if not parts[SplitName.TRAIN]:
        found = sorted({str(row.split) for row in rows}) or "no row"
        raise DataError(f"data.root {str(file)!r}: images of the split train are needed, found {found}.")
    sources = {name: _source(file, part) for name, part in parts.items() if part}
    missing = [key for source in sources.values() for key in source.keys if not (file.parent / key).is_file()]
    if missing:
        report(Warn(f"data: {len(missing):,} of the {len(rows):,} files of {str(file)!r} are missing: {missing[0]!r}"))
    return sources


def _source(file: Path, rows: Sequence[_Row]) -> ImageFiles:
    classes = sorted_labels(row.label for row in rows)
    numbers = {label: number for number, label in enumerate(classes)}
    ordered = sorted((row.path, numbers[row.label]) for row in rows)
    return ImageFiles(file.parent, classes, tuple(path for path, _ in ordered), tuple(target for _, target in ordered))


def _read(file: Path) -> list[_Row]:
    try:
        # utf-8-sig: spreadsheets begin a file with a byte order mark.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            _require_columns(file, reader.fieldnames or ())
            return list(_rows(file, reader))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"data.root {str(file)!r}: cannot be read as a CSV file ({error}).") from error


def _require_columns(file: Path, names: Sequence[str]) -> None:
    for name in _NEEDED:
        if name not in names:
            raise DataError(
                f"data.root {str(file)!r}: the first line must name the columns {', '.join(_KNOWN)} (split may be left "
                f"out), separated by commas; {name} is missing, found {list(names)}.{did_you_mean(name, names)}"
            )


def _rows(file: Path, reader: csv.DictReader[str]) -> Iterator[_Row]:
    for row in reader:
        line = reader.line_num
        for name in _NEEDED:
            if not row[name]:
                raise DataError(f"{file}:{line}: the column {name} is empty. Fill it, or remove the row.")
        split = named_split(row["split"] or "") if "split" in row else SplitName.TRAIN
        if split is None:
            raise DataError(f"{file}:{line}: split must be train, val or test, found {row['split']!r}.")
        # A table that was written on Windows is read everywhere.
        yield _Row(line, row["path"].replace("\\", "/"), row["label"], split)


def _require_once(file: Path, rows: Iterable[_Row]) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.path in lines:
            raise DataError(
                f"{file}:{row.line}: an image has one class and is in one split, found {row.path!r} in line "
                f"{lines[row.path]} as well. Remove one of the rows."
            )
        lines[row.path] = row.line
