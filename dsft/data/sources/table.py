"""CSV files that list images: one row per image, with its path, class or labels, and optionally its split."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dsft.choices import SplitName
from dsft.data.sources.folder import Files
from dsft.data.sources.images import ImageFiles, ImageSource
from dsft.data.sources.naming import parse_split, sorted_labels
from dsft.errors import DataError, did_you_mean
from dsft.progress import Report, Warn, ignore
from dsft.storage import at_home

_NEEDED, _KNOWN = ("path", "label"), ("path", "label", "split")


class _Row(NamedTuple):
    line: int
    path: str
    labels: tuple[str, ...]
    split: SplitName


def open_csv(file: Path, report: Report = ignore, *, separator: str | None = None) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a CSV file that lists images, see :func:`open_table`."""
    return open_table(file, ImageFiles, report, separator=separator)


def open_table(
    file: Path, files: type[Files], report: Report = ignore, *, separator: str | None = None
) -> Mapping[SplitName, Files]:
    """Return the splits of a CSV file.

    The header names the columns: ``path`` (absolute, or relative to the folder of the file), ``label`` and optionally
    ``split``. Other columns are ignored. The classes of a split are its distinct labels in alphabetical or, if all are
    integers, in numerical order.

    Args:
        file: The CSV file, in UTF-8.
        files: What the listed files are.
        report: Receives a warning about missing image files.
        separator: Separator between labels in the column ``label``, which then contains any number of labels per
            image; None if it contains one class per image.

    Raises:
        DataError: The file cannot be read, lacks a column or a value, lists an image or a label of an image twice, or
            has no training images, or none with some label.
    """
    file = at_home(file)
    rows = _read(file, separator)
    _require_once(file, rows)
    parts = {name: [row for row in rows if row.split is name] for name in SplitName}
    if not parts[SplitName.TRAIN]:
        found = sorted({str(row.split) for row in rows}) or "no rows"
        raise DataError(f"data.root {str(file)!r}: must list images of the split train, found {found}.")
    if separator is not None:
        _require_trained_labels(file, rows)
    sources = {name: _source(file, part, files, has_sets=separator is not None) for name, part in parts.items() if part}
    missing = [key for source in sources.values() for key in source.keys if not (file.parent / key).is_file()]
    if missing:
        found = f"{len(missing):,} of the {len(rows):,} files in {str(file)!r} are missing"
        report(Warn(f"data: {found}, such as {missing[0]!r}"))
    return sources


def _source(file: Path, rows: Sequence[_Row], files: type[Files], *, has_sets: bool) -> Files:
    classes = sorted_labels(label for row in rows for label in row.labels)
    numbers = {label: number for number, label in enumerate(classes)}
    ordered = sorted((row.path, tuple(sorted(numbers[label] for label in row.labels))) for row in rows)
    targets = tuple(target if has_sets else target[0] for _, target in ordered)
    return files(file.parent, classes, tuple(path for path, _ in ordered), targets)


def _read(file: Path, separator: str | None) -> list[_Row]:
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            _require_columns(file, reader.fieldnames or ())
            return list(_rows(file, reader, separator))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"data.root {str(file)!r}: cannot be read as a CSV file ({error}).") from error


def _require_columns(file: Path, names: Sequence[str]) -> None:
    for name in _NEEDED:
        if name not in names:
            raise DataError(
                f"data.root {str(file)!r}: the first line must name the columns {', '.join(_KNOWN)} (split is "
                f"optional), separated by commas; {name} is missing, found {list(names)}.{did_you_mean(name, names)}"
            )
    if twice := [name for name in _KNOWN if list(names).count(name) > 1]:
        raise DataError(f"data.root {str(file)!r}: the first line must name a column once, found {twice[0]} twice.")
    # An optional column would be ignored silently if it is misspelt.
    if "split" not in names and (near := [name for name in names if name.strip().casefold() == "split"]):
        raise DataError(f"data.root {str(file)!r}: the column of the splits must be named split, found {near[0]!r}.")


def _rows(file: Path, reader: csv.DictReader[str], separator: str | None) -> Iterator[_Row]:
    for row in reader:
        line = reader.line_num
        # Values beyond the named columns; spreadsheets append empty ones.
        if any(row.get(None) or ()):
            raise DataError(
                f"{file}:{line}: has more values than there are columns, found {row[None]} at the end. Put a value "
                "that contains a comma into quotes."
            )
        for name in _NEEDED:
            # An empty value means no labels, but the row must have the column.
            may_be_empty = name == "label" and separator is not None and row[name] is not None
            if not (row[name] or "").strip() and not may_be_empty:
                raise DataError(f"{file}:{line}: the column {name} is empty. Fill it, or remove the row.")
        split = parse_split(row["split"] or "") if "split" in row else SplitName.TRAIN
        if split is None:
            raise DataError(f"{file}:{line}: split must be train, val or test, found {row['split']!r}.")
        # Accept tables written on Windows on all systems.
        path, labels = row["path"].replace("\\", "/"), (row["label"].strip(),)
        yield _Row(line, path, labels if separator is None else _labels(file, line, row["label"], separator), split)


def _labels(file: Path, line: int, text: str, separator: str) -> tuple[str, ...]:
    """Split the labels of an image."""
    if not text.strip():
        return ()
    labels = tuple(label.strip() for label in text.split(separator))
    if "" in labels:
        raise DataError(
            f"{file}:{line}: there must be a label between two separators {separator!r}, found {text!r}. Leave the "
            "column empty for an image without labels."
        )
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise DataError(f"{file}:{line}: an image must not have a label twice, found {', '.join(twice)} in {text!r}.")
    return labels


def _require_trained_labels(file: Path, rows: Sequence[_Row]) -> None:
    known = {label for row in rows if row.split is SplitName.TRAIN for label in row.labels}
    for row in rows:
        for label in row.labels:
            if label not in known:
                near = did_you_mean(label, sorted(known))
                raise DataError(
                    f"{file}:{row.line}: the label {label!r} of an image of {row.split} has no training images."
                    f"{near} Rename or remove it, or add training images."
                )


def _require_once(file: Path, rows: Iterable[_Row]) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.path in lines:
            raise DataError(
                f"{file}:{row.line}: an image must be listed once, found {row.path!r} in line {lines[row.path]} too. "
                "Remove one of the rows."
            )
        lines[row.path] = row.line
