"""Unlabelled files, for prediction and calibration."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dsft.choices import InputKind
from dsft.data.inputs import INPUTS
from dsft.data.sources.folder import has_extension, list_examples, require_portable
from dsft.data.sources.text import ENDING, read_texts
from dsft.data.text import read_text, require_tokens
from dsft.errors import DataError
from dsft.storage import at_home


@dataclass(frozen=True)
class UnlabelledFiles:
    """Files, one for each example, with its path as the key; all have one placeholder class."""

    keys: tuple[str, ...]
    input_kind: InputKind = InputKind.IMAGE
    origin: ClassVar[str] = "the given paths"
    classes: ClassVar[tuple[str, ...]] = ("unknown",)
    in_memory: ClassVar[bool] = False

    @property
    def targets(self) -> Sequence[int]:
        """The index of the placeholder class for each example."""
        return (0,) * len(self.keys)

    def identity(self, index: int) -> str:
        """Return the size of the file in bytes."""
        try:
            return str(Path(self.keys[index]).stat().st_size)
        except OSError:
            return "missing"

    def read(self, index: int) -> Any:
        """Decode one file, see :meth:`dsft.data.inputs.InputType.read_file`."""
        return INPUTS[self.input_kind].read_file(Path(self.keys[index]))


@dataclass(frozen=True)
class UnlabelledTexts(UnlabelledFiles):
    """Text files, and texts in CSV files, of which a key is the file and the line.

    Attributes:
        rows: The texts of CSV files by their key.
    """

    rows: Mapping[str, str] = field(default_factory=dict)

    def identity(self, index: int) -> str:
        """Return the length of the text, or the size of the file in bytes."""
        text = self.rows.get(self.keys[index])
        return super().identity(index) if text is None else str(len(text))

    def read(self, index: int) -> str:
        """Return a text.

        Raises:
            DataError: It is empty, or its file cannot be read.
        """
        key = self.keys[index]
        return require_tokens(self.rows[key], key) if key in self.rows else read_text(Path(key))


def find_examples(paths: Iterable[str], kind: InputKind) -> UnlabelledFiles:
    """Find unlabelled examples: the files of :func:`find_files`, and of texts the rows of CSV files too.

    Args:
        paths: The paths.
        kind: What the examples are.

    Raises:
        DataError: See :func:`find_files`; or a CSV file has no column of texts.
    """
    files = find_files(paths, kind)
    if kind is not InputKind.TEXT:
        return files
    keys, rows = list[str](), dict[str, str]()
    for key in files.keys:
        found = {}
        if key.lower().endswith(ENDING):
            found = {f"{key}:{line}": text for line, text in read_texts(Path(key)).items()}
        keys += found or [key]
        rows |= found
    return UnlabelledTexts(tuple(keys), kind, rows)


def find_files(paths: Iterable[str], kind: InputKind = InputKind.IMAGE) -> UnlabelledFiles:
    """Find the files of examples, each once and in the order of the paths.

    A path is a file (with any extension), a folder (all files below it with the extension of an example), or a pattern
    with ``*``, ``?``, ``[`` or ``**`` that matches files and folders, since the shells of Windows do not expand
    patterns.

    Args:
        paths: The paths.
        kind: What the examples are.

    Raises:
        DataError: A path does not exist, a pattern matches nothing, or a folder contains no examples.
    """
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(require_portable(str(file)) for file in _expanded(path, kind)))
    return UnlabelledFiles(tuple(found), kind)


def _expanded(path: str, kind: InputKind) -> list[Path]:
    # The name of a file may start with ~.
    place = Path(path) if Path(path).exists() else at_home(path)
    if place.is_dir():
        return _required(list_examples(place, kind), kind, f"folder {path!r}: contains no {kind.plural}.")
    if place.exists():
        return [place]
    if glob.has_magic(path):
        return _required(_matching(path, kind), kind, f"pattern {path!r}: matches no {kind.plural}.")
    raise DataError(
        f"{path!r}: must be {kind.with_article}, a folder or a pattern, and there is no such file or folder."
    )


def _matching(pattern: str, kind: InputKind) -> list[Path]:
    # As text, since Path drops a trailing /, with which a pattern matches folders only.
    found = glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207
    files: list[Path] = []
    for path in map(Path, sorted(found)):
        is_example = has_extension(path.name, INPUTS[kind].extensions)
        files += list_examples(path, kind) if path.is_dir() else [path] if is_example else []
    return files


def _required(files: list[Path], kind: InputKind, message: str) -> list[Path]:
    if not files:
        extensions = ", ".join(sorted(INPUTS[kind].extensions | INPUTS[kind].folder_extensions))
        raise DataError(f"{message} {kind.plural.capitalize()} in folders need one of the extensions {extensions}.")
    return files
