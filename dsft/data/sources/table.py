"""A CSV file that lists images: a row each, with its path, its class or labels, and maybe its split."""

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
from dsft.storage import at_home

_NEEDED, _KNOWN = ("path", "label"), ("path", "label", "split")


class _Row(NamedTuple):
    line: int
    path: str
    labels: tuple[str, ...]
    split: SplitName


def open_csv(file: Path, report: Report = ignore, *, separator: str | None = None) -> Mapping[SplitName, ImageSource]:
    """Return the splits that a CSV file lists.

    The first line names the columns: ``path`` (relative to the file's folder, or absolute), ``label`` and, where the
    data set is divided, ``split``. Other columns are passed over. The classes of every split are its labels; where
    all are whole numbers, in their order.

    Args:
        file: The CSV file, in UTF-8.
        report: Is told of files that are missing.
        separator: What stands between two labels in the column ``label``, which may then hold any number of them, none
            included; None where it holds one class.

    Raises:
        DataError: It cannot be read, lacks a column or a value, names an image or a label of an image twice, lists none
            to train on, or a label for which there is none.
    """
    file = at_home(file)
    rows = _read(file, separator)
    _require_once(file, rows)
    parts = {name: [row for row in rows if row.split is name] for name in SplitName}
    if not parts[SplitName.TRAIN]:
        found = sorted({str(row.split) for row in rows}) or "no row"
        raise DataError(f"data.root {str(file)!r}: images of the split train are needed, found {found}.")
    if separator is not None:
        _require_trained_labels(file, rows)
    sources = {name: _source(file, part, has_sets=separator is not None) for name, part in parts.items() if part}
    missing = [key for source in sources.values() for key in source.keys if not (file.parent / key).is_file()]
    if missing:
        report(Warn(f"data: {len(missing):,} of the {len(rows):,} files of {str(file)!r} are missing: {missing[0]!r}"))
    return sources


def _source(file: Path, rows: Sequence[_Row], *, has_sets: bool) -> ImageFiles:
    classes = sorted_labels(label for row in rows for label in row.labels)
    numbers = {label: number for number, label in enumerate(classes)}
    ordered = sorted((row.path, tuple(sorted(numbers[label] for label in row.labels))) for row in rows)
    targets = tuple(target if has_sets else target[0] for _, target in ordered)
    return ImageFiles(file.parent, classes, tuple(path for path, _ in ordered), targets)


def _read(file: Path, separator: str | None) -> list[_Row]:
    try:
        # utf-8-sig: spreadsheets begin a file with a byte order mark.
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
                f"data.root {str(file)!r}: the first line must name the columns {', '.join(_KNOWN)} (split may be left "
                f"out), separated by commas; {name} is missing, found {list(names)}.{did_you_mean(name, names)}"
            )
    if twice := [name for name in _KNOWN if list(names).count(name) > 1]:
        raise DataError(f"data.root {str(file)!r}: the first line names a column once, found {twice[0]} again.")
    # What is needed is asked for above; this one may be left out, and would be if it were misspelt.
    if "split" not in names and (near := [name for name in names if name.strip().casefold() == "split"]):
        raise DataError(f"data.root {str(file)!r}: a column of splits is called split, found {near[0]!r}. Rename it.")


def _rows(file: Path, reader: csv.DictReader[str], separator: str | None) -> Iterator[_Row]:
    for row in reader:
        line = reader.line_num
        # What lies beyond the named columns; spreadsheets end lines with empty values.
        if any(row.get(None) or ()):
            raise DataError(
                f"{file}:{line}: has more values than the first line names columns, found {row[None]} at its end. Put "
                "a value with a comma in it into quotes."
            )
        for name in _NEEDED:
            # An image may have no label at all; a row that ends before the column is at fault all the same.
            may_be_empty = name == "label" and separator is not None and row[name] is not None
            if not (row[name] or "").strip() and not may_be_empty:
                raise DataError(f"{file}:{line}: the column {name} is empty. Fill it, or remove the row.")
        split = named_split(row["split"] or "") if "split" in row else SplitName.TRAIN
        if split is None:
            raise DataError(f"{file}:{line}: split must be train, val or test, found {row['split']!r}.")
        # A table that was written on Windows is read everywhere.
        path, labels = row["path"].replace("\\", "/"), (row["label"].strip(),)
        yield _Row(line, path, labels if separator is None else _labels(file, line, row["label"], separator), split)


def _labels(file: Path, line: int, text: str, separator: str) -> tuple[str, ...]:
    """Read the labels of one image."""
    if not text.strip():
        return ()
    labels = tuple(label.strip() for label in text.split(separator))
    if "" in labels:
        raise DataError(
            f"{file}:{line}: between two {separator!r} a label is needed, found {text!r}. Leave the column empty "
            "for an image without labels."
        )
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise DataError(f"{file}:{line}: an image has a label once, found {', '.join(twice)} again in {text!r}.")
    return labels


def _require_trained_labels(file: Path, rows: Sequence[_Row]) -> None:
    known = {label for row in rows if row.split is SplitName.TRAIN for label in row.labels}
    for row in rows:
        for label in row.labels:
            if label not in known:
                near = did_you_mean(label, sorted(known))
                raise DataError(
                    f"{file}:{row.line}: the label {label!r} of an image of {row.split} is that of no training image."
                    f"{near} Rename or remove it, or add training images."
                )


def _require_once(file: Path, rows: Iterable[_Row]) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.path in lines:
            raise DataError(
                f"{file}:{row.line}: an image has one class and is in one split, found {row.path!r} in line "
                f"{lines[row.path]} as well. Remove one of the rows."
            )
        lines[row.path] = row.line
