"""Sound files: one folder per class, or a table with a path and a class in each row."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsft.choices import SplitName
from dsft.data.sources.folder import open_files
from dsft.data.sources.images import SignalFiles, Source
from dsft.data.sources.table import open_table
from dsft.errors import DataError
from dsft.progress import Note, Report, ignore
from dsft.storage import at_home


@dataclass(frozen=True)
class Groups:
    """Groups of files, such as the recordings of a speaker.

    Attributes:
        pattern: A regular expression that is searched for in a file's name; its first group is the name of the group.
        held_out: The groups that are the test split.
    """

    pattern: str
    held_out: Sequence[str]

    def name(self, key: str) -> str:
        """Return the group of a file.

        Raises:
            DataError: The pattern does not match its name.
        """
        file = key.rpartition("/")[2]
        found = re.search(self.pattern, file)
        if found is None or found[1] is None:
            raise DataError(f"data.groups.pattern: must match the name of every file, found {file!r}.")
        return found[1]


def open_audio(root: Path, groups: Groups | None = None, report: Report = ignore) -> Mapping[SplitName, Source]:
    """Return the splits of a folder of sound files, see :func:`dsft.data.sources.folder.open_files`, or of a table.

    Args:
        root: The folder, or the CSV file, see :func:`dsft.data.sources.table.open_table`.
        groups: Hold these groups out; None keeps the splits as they are.
        report: Receives what is found.

    Raises:
        DataError: The folder or the table is missing or incomplete, or there are no files of a group.
    """
    is_table = at_home(root).is_file()
    sources = open_table(root, SignalFiles, report) if is_table else open_files(root, SignalFiles, report)
    return sources if groups is None else _without_groups(sources, groups, report)


def _without_groups(
    sources: Mapping[SplitName, SignalFiles], groups: Groups, report: Report
) -> Mapping[SplitName, SignalFiles]:
    """Take the held-out groups out of train and val; they are test instead of what was."""
    named = {split: [groups.name(key) for key in source.keys] for split, source in sources.items()}
    known = sorted({name for names in named.values() for name in names})
    if missing := [repr(name) for name in groups.held_out if name not in known]:
        raise DataError(f"data.groups.held_out: there are no files of {', '.join(missing)}. The groups are {known}.")
    inside = {split: [name in groups.held_out for name in names] for split, names in named.items()}
    kept: dict[SplitName, SignalFiles] = {
        split: _selected(source, (not held for held in inside[split]))
        for split, source in sources.items()
        if split is not SplitName.TEST
    }
    test = _joined([_selected(source, inside[split]) for split, source in sources.items()])
    report(Note(f"data: {len(test.keys):,} signals of {', '.join(groups.held_out)} are the test split"))
    return {**kept, SplitName.TEST: test}


def _selected(files: SignalFiles, chosen: Iterable[bool]) -> SignalFiles:
    rows = [
        row for row, is_chosen in zip(zip(files.keys, files.targets, strict=True), chosen, strict=True) if is_chosen
    ]
    return SignalFiles(files.root, files.classes, tuple(key for key, _ in rows), tuple(own for _, own in rows))


def _joined(parts: Sequence[SignalFiles]) -> SignalFiles:
    """Return the files of all parts, with their paths relative to the folder that contains all of them."""
    root = Path(os.path.commonpath([part.root.absolute() for part in parts]))
    classes = tuple(sorted({name for part in parts for name in part.classes}))
    numbers = {name: number for number, name in enumerate(classes)}
    rows = sorted(
        ((part.root.absolute() / key).relative_to(root).as_posix(), numbers[part.classes[own]])
        for part in parts
        for key, own in zip(part.keys, part.targets, strict=True)
        if isinstance(own, int)
    )
    return SignalFiles(root, classes, tuple(key for key, _ in rows), tuple(own for _, own in rows))
