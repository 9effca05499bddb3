"""``--classes FILE|data``: class names for weights that come without any."""

from __future__ import annotations

import dataclasses

from dsft.assembly.network import Network
from dsft.assembly.source import Source
from dsft.errors import DataError
from dsft.progress import Note, Report
from dsft.storage import at_home

FROM_DATA = "data"


def require_class_file(asked: str | None) -> None:
    """Check a ``--classes`` file before anything is loaded.

    Raises:
        DataError: It is missing or is not a list of distinct names.
    """
    if asked is not None and asked != FROM_DATA:
        read_class_names(asked)


def read_class_names(file: str) -> tuple[str, ...]:
    """Read a text file of class names, one per line, in the order of the network's outputs.

    Raises:
        DataError: The file is missing, is not UTF-8 text, or a line is empty or repeated.
    """
    where, path = f"--classes {file!r}", at_home(file)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(
            f"{where}: expected a text file with one class name per line, or the word data for the classes of the "
            f"data, found {found}."
        )
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is not UTF-8 text (byte {error.start}). Save the file as UTF-8.") from error
    if not names:
        raise DataError(f"{where}: expected one class name per line, found an empty file.")
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(
                f"{where}: line {number} is empty. Give one class name per line, in the order of the outputs."
            )
        if name in first:
            raise DataError(f"{where}: line {number} repeats {name!r} of line {first[name]}. Class names are distinct.")
        first[name] = number
    return tuple(names)


def name_classes(network: Network, source: Source, of_data: tuple[str, ...] | None, report: Report) -> Network:
    """Give a network without class names those that the user states.

    Args:
        network: The network.
        source: Where it comes from, and what ``--classes`` says: a file, ``data`` for the class table of the data, or
            None, which leaves the network unchanged.
        of_data: The class table of the data; None if there is none.
        report: Receives which names were taken, since their order cannot be checked.

    Raises:
        DataError: There are more or fewer names than outputs, the network has other class names of its own, or the
            data has no classes.
    """
    asked, model = source.classes, source.label
    if asked is None:
        return network
    names = of_data if asked == FROM_DATA else read_class_names(asked)
    if names is None:
        raise DataError(
            "--classes data: takes the classes of the data, and there is none with classes. Give a recipe, or a folder "
            "with one folder per class, with --data."
        )
    if network.classes is not None:
        if network.classes == names:
            return network
        raise DataError(
            f"--classes {asked!r}: names the outputs of weights that come without class names, and {model!r} has its "
            f"own {len(network.classes)}: {_some(network.classes)}. Leave --classes out."
        )
    if len(names) != network.spec.num_classes:
        raise DataError(
            f"--classes {asked!r}: expected one name for each of the {network.spec.num_classes} outputs of {model!r}, "
            f"found {len(names)}: {_some(names)}. Give a file with the names of its outputs, or first fine-tune it on "
            "the data, which replaces its head."
        )
    origin = "the data" if asked == FROM_DATA else repr(asked)
    report(Note(f"classes: {_some(names)} (from {origin}; the order must be that of the network's outputs)"))
    return dataclasses.replace(network, classes=names)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
