"""CSV files of examples: one row each, with its path or text, class or labels, and optionally its split."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dsft.choices import InputKind, SplitName
from dsft.data.labels import Target
from dsft.data.sources.folder import Files, found_at
from dsft.data.sources.images import ImageFiles, ImageSource
from dsft.data.sources.naming import parse_split, sorted_labels
from dsft.errors import DataError, did_you_mean
from dsft.progress import Report, Warn, ignore
from dsft.storage import at_home

LABEL, SPLIT = "label", "split"


class Row(NamedTuple):
    """A row: its line in the file, what it has in the column of the examples, its labels and its split."""

    line: int
    value: str
    labels: tuple[str, ...]
    split: SplitName


@dataclass(frozen=True)
class TableFormat:
    """What a CSV file contains.

    Attributes:
        column: Name of the column of the examples.
        kind: What the examples are.
        separator: Separator between labels in the column ``label``; None if an example has one class.
        may_be_empty: An example may be an empty value.
    """

    column: str
    kind: InputKind
    separator: str | None = None
    may_be_empty: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every file has."""
        return (self.column, LABEL)

    @property
    def known(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (*self.needed, SPLIT)


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
    # Accept tables written on Windows on all systems.
    rows = [
        row._replace(value=row.value.replace("\\", "/"))
        for row in read_rows(file, TableFormat("path", files.input_kind, separator))
    ]
    _require_once(file, rows, files.input_kind)
    parts = split_rows(file, rows, files.input_kind, has_sets=separator is not None)
    sources = {name: _source(file, part, files, has_sets=separator is not None) for name, part in parts.items()}
    missing = [key for source in sources.values() for key in source.keys if not (file.parent / key).is_file()]
    if missing:
        found = f"{len(missing):,} of the {len(rows):,} files in {str(file)!r} are missing"
        report(Warn(f"data: {found}, such as {missing[0]!r}"))
    return sources


def split_rows(
    file: Path, rows: Sequence[Row], kind: InputKind, *, has_sets: bool
) -> Mapping[SplitName, Sequence[Row]]:
    """Divide the rows of a table by their split.

    Args:
        file: The table, for messages.
        rows: Its rows.
        kind: What the examples are.
        has_sets: An example has any number of labels.

    Raises:
        DataError: There are no training examples, or with ``has_sets`` none with some label.
    """
    parts = {name: part for name in SplitName if (part := [row for row in rows if row.split is name])}
    if SplitName.TRAIN not in parts:
        found = sorted({str(row.split) for row in rows}) or "no rows"
        raise DataError(f"data.root {str(file)!r}: must list {kind.plural} of the split train, found {found}.")
    if has_sets:
        _require_trained_labels(file, rows, kind)
    return parts


def class_targets(rows: Sequence[Row], *, has_sets: bool) -> tuple[tuple[str, ...], list[Target]]:
    """Return the class table of rows, and the class or the set of labels of each."""
    classes = sorted_labels(label for row in rows for label in row.labels)
    numbers = {label: number for number, label in enumerate(classes)}
    found = [tuple(sorted(numbers[label] for label in row.labels)) for row in rows]
    return classes, [target if has_sets else target[0] for target in found]


def _source(file: Path, rows: Sequence[Row], files: type[Files], *, has_sets: bool) -> Files:
    ordered = sorted(rows, key=lambda row: row.value)
    classes, targets = class_targets(ordered, has_sets=has_sets)
    return files(file.parent, classes, tuple(row.value for row in ordered), tuple(targets), file)


def read_rows(file: Path, table: TableFormat) -> list[Row]:
    """Read the rows of a CSV file in UTF-8; without a column ``split`` all are ``train``.

    Args:
        file: The file.
        table: Its columns.

    Raises:
        DataError: The file cannot be read, or lacks a column or a value.
    """
    with opened_table(f"data.root {str(file)!r}", file, table.needed, table.known) as reader:
        return list(_rows(file, reader, table))


@contextlib.contextmanager
def opened_table(where: str, file: Path, needed: Sequence[str], known: Sequence[str]) -> Iterator[csv.DictReader[str]]:
    """Yield a reader of the rows of a CSV file in UTF-8, whose header is checked.

    Args:
        where: The start of the error message.
        file: The file.
        needed: The columns that the header must name.
        known: Those that it may name once.

    Raises:
        DataError: The file is missing, or cannot be read, then or in the block; or the header is invalid.
    """
    if not file.is_file():
        raise DataError(f"{where}: must be a CSV file, found {found_at(file)}.")
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            _require_columns(file, reader.fieldnames or (), needed, known)
            yield reader
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(
            f"{where}: cannot be read as a CSV file ({error}). Save the table as CSV in UTF-8, separated by commas."
        ) from error


def _require_columns(file: Path, names: Sequence[str], needed: Sequence[str], known: Sequence[str]) -> None:
    """Check the header of a CSV file.

    Args:
        file: The file, for messages.
        names: The columns that the header names.
        needed: Those that it must name.
        known: Those that it may name once.

    Raises:
        DataError: A column is missing, named twice or misspelt.
    """
    for name in needed:
        if name not in names:
            columns = ", ".join(other if other in needed else f"{other} (optional)" for other in known)
            raise DataError(
                f"{str(file)!r}: the first line must name the columns {columns}, separated by commas; {name} is "
                f"missing, found {list(names)}.{did_you_mean(name, names)}"
            )
    if twice := [name for name in known if list(names).count(name) > 1]:
        raise DataError(f"{str(file)!r}: the first line must name a column once, found {twice[0]} twice.")
    # An optional column would be ignored silently if it is misspelt.
    if SPLIT in known and SPLIT not in names and (near := [name for name in names if name.strip().casefold() == SPLIT]):
        raise DataError(f"{str(file)!r}: the column of the splits must be named split, found {near[0]!r}.")


def _rows(file: Path, reader: csv.DictReader[str], table: TableFormat) -> Iterator[Row]:
    for row in reader:
        line = reader.line_num
        # Values beyond the named columns; spreadsheets append empty ones.
        if any(row.get(None) or ()):
            raise DataError(
                f"{file}:{line}: has more values than there are columns, found {row[None]} at the end. Put a value "
                "that contains a comma into quotes."
            )
        for name in table.needed:
            # An empty value may mean no labels, but the row must have the column.
            may_be_empty = table.may_be_empty if name == table.column else table.separator is not None
            if not (row[name] or "").strip() and not (may_be_empty and row[name] is not None):
                raise DataError(f"{file}:{line}: the column {name} is empty. Fill it, or remove the row.")
        split = parse_split(row[SPLIT] or "") if SPLIT in row else SplitName.TRAIN
        if split is None:
            raise DataError(f"{file}:{line}: split must be train, val or test, found {row[SPLIT]!r}.")
        yield Row(line, row[table.column], _labels(file, line, row[LABEL], table), split)


def _labels(file: Path, line: int, text: str, table: TableFormat) -> tuple[str, ...]:
    """Split the labels of an example."""
    if table.separator is None:
        return (text.strip(),)
    if not text.strip():
        return ()
    labels = tuple(label.strip() for label in text.split(table.separator))
    if "" in labels:
        raise DataError(
            f"{file}:{line}: there must be a label between two separators {table.separator!r}, found {text!r}. Leave "
            f"the column empty for {table.kind.with_article} without labels."
        )
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise DataError(
            f"{file}:{line}: {table.kind.with_article} must not have a label twice, found {', '.join(twice)} in "
            f"{text!r}."
        )
    return labels


def _require_trained_labels(file: Path, rows: Sequence[Row], kind: InputKind) -> None:
    known = {label for row in rows if row.split is SplitName.TRAIN for label in row.labels}
    for row in rows:
        for label in row.labels:
            if label not in known:
                near = did_you_mean(label, sorted(known))
                raise DataError(
                    f"{file}:{row.line}: the label {label!r} of {kind.with_article} of {row.split} has no training "
                    f"{kind.plural}.{near} Rename or remove it, or add training {kind.plural}."
                )


def _require_once(file: Path, rows: Iterable[Row], kind: InputKind) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.value in lines:
            raise DataError(
                f"{file}:{row.line}: {kind.with_article} must be listed once, found {row.value!r} in line "
                f"{lines[row.value]} too. Remove one of the rows."
            )
        lines[row.value] = row.line
