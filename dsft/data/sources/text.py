"""Texts in CSV files: one row per text, with its class or labels, and optionally its split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dsft.choices import InputKind, SplitName
from dsft.data.labels import Target
from dsft.data.sources.naming import describe_splits, split_files
from dsft.data.sources.table import Row, TableFormat, class_targets, opened_table, read_rows, split_rows
from dsft.data.text import require_tokens
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

TEXT, ENDING = "text", ".csv"


@dataclass(frozen=True, eq=False)
class TextRows:
    """The texts of a CSV file, or of one of its splits; a key is the number of a text's line.

    Attributes:
        file: The file.
        classes: The class names.
        lines: The line of each text, where it ends.
        texts: The texts.
        targets: The class or the labels of each text.
    """

    file: Path
    classes: tuple[str, ...]
    lines: tuple[int, ...]
    texts: tuple[str, ...]
    targets: tuple[Target, ...]
    in_memory: ClassVar[bool] = True
    input_kind: ClassVar[InputKind] = InputKind.TEXT

    @property
    def origin(self) -> str:
        """The file."""
        return str(self.file)

    @property
    def keys(self) -> Sequence[str]:
        """The lines, zero-padded so that their order is alphabetical."""
        digits = len(str(max(self.lines)))
        return [f"{line:0{digits}d}" for line in self.lines]

    def identity(self, index: int) -> str:
        """Return the SHA-256 of a text."""
        return hashlib.sha256(self.texts[index].encode()).hexdigest()

    def read(self, index: int) -> str:
        """Return a text.

        Raises:
            DataError: It is empty.
        """
        return require_tokens(self.texts[index], f"{self.file}:{self.lines[index]}")


def open_text(root: Path, report: Report = ignore, *, separator: str | None = None) -> Mapping[SplitName, TextRows]:
    """Return the splits of texts in CSV files.

    The header names the columns: ``text``, ``label`` and, in a file of all splits, optionally ``split``. Other columns
    are ignored; see :func:`dsft.data.sources.table.open_table` for the classes.

    Args:
        root: A CSV file in UTF-8; or a folder with ``train.csv`` and optionally ``val.csv`` and ``test.csv``.
        report: Receives which file is used for which split.
        separator: Separator between labels in the column ``label``, which then contains any number of labels per text;
            None if it contains one class per text.

    Raises:
        DataError: A file is missing or cannot be read, or lacks a column or a class.
    """
    root, has_sets = at_home(root), separator is not None
    table = TableFormat(TEXT, InputKind.TEXT, separator, may_be_empty=True)
    if not root.is_dir():
        parts = split_rows(root, read_rows(root, table), InputKind.TEXT, has_sets=has_sets)
        return {split: _source(root, rows, has_sets=has_sets) for split, rows in parts.items()}
    files = split_files(root, ENDING)
    if SplitName.TRAIN not in files:
        raise DataError(f"data.root {str(root)!r}: must be a CSV file, or a folder with train.csv, found neither.")
    report(describe_splits(files))
    return {split: _source(path, _own_rows(path, split, table), has_sets=has_sets) for split, path in files.items()}


def read_texts(file: Path) -> Mapping[int, str]:
    """Return the texts in the column ``text`` of a CSV file without labels, by their line.

    Raises:
        DataError: The file cannot be read, or has no such column.
    """
    with opened_table(repr(str(file)), file, (TEXT,), (TEXT,)) as reader:
        return dict((reader.line_num, row[TEXT] or "") for row in reader)  # noqa: C402 (the key changes with it)


def _own_rows(file: Path, split: SplitName, table: TableFormat) -> Sequence[Row]:
    """Return the rows of a file that is a split, which may say so in a column but not otherwise."""
    rows = read_rows(file, table)
    if not rows:
        raise DataError(f"data: {str(file)!r} contains no texts.")
    if other := next((row for row in rows if row.split not in (split, SplitName.TRAIN)), None):
        raise DataError(f"{file}:{other.line}: the file is the split {split}, found a text of {other.split}.")
    return rows


def _source(file: Path, rows: Iterable[Row], *, has_sets: bool) -> TextRows:
    ordered = sorted(rows)
    classes, targets = class_targets(ordered, has_sets=has_sets)
    lines, texts = tuple(row.line for row in ordered), tuple(row.value for row in ordered)
    return TextRows(file, classes, lines, texts, tuple(targets))
