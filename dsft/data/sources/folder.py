"""Image folders: one folder per class, either directly or in separate trees for train, val and test."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from dsft.choices import InputKind, SplitName
from dsft.data.decoding import IMAGE_EXTENSIONS
from dsft.data.inputs import INPUTS
from dsft.data.sources.images import ExampleFiles, ImageFiles, ImageSource
from dsft.data.sources.naming import describe_splits, parse_split
from dsft.errors import DataError
from dsft.number_format import plural
from dsft.progress import Report, Warn, ignore
from dsft.storage import at_home

Files = TypeVar("Files", bound=ExampleFiles)


def open_folder(root: Path, report: Report = ignore) -> Mapping[SplitName, ImageSource]:
    """Return the splits of a folder of images, see :func:`open_files`."""
    return open_files(root, ImageFiles, report)


def open_files(root: Path, files: type[Files], report: Report = ignore) -> Mapping[SplitName, Files]:
    """Return the splits of a folder of files.

    Either ``root`` contains one folder per class, which are returned as ``train``, or it contains ``train`` (or
    ``training``) and optionally ``val`` (``valid``, ``validation``) and ``test`` (``testing``), each with one folder
    per class. Files may be at any depth below the folder of their class; hidden files and folders are ignored.

    Args:
        root: The folder.
        files: What the files are, with the endings of :class:`dsft.data.inputs.InputType`.
        report: Receives which folder is used for which split, and what is ignored.

    Raises:
        DataError: The folder does not exist, contains no class folder or an empty one, or has a held-out split and no
            ``train``.
    """
    root = at_home(root)
    require_folder(root, files.input_kind)
    try:
        folders = split_folders(root)
        if not folders:
            return {SplitName.TRAIN: _scan(root, files, report)}
        report(describe_splits(folders))
        if others := [folder.name for folder in _folders(root) if folder not in folders.values()]:
            report(
                Warn(f"data: {', '.join(map(repr, others))} in {str(root)!r} is not the name of a split and is ignored")
            )
        return {split: _scan(folder, files, report) for split, folder in folders.items()}
    except OSError as error:
        raise DataError(f"data.root {str(root)!r}: cannot be listed ({error}).") from error


def require_folder(root: Path, kind: InputKind = InputKind.IMAGE) -> None:
    """Check that the root of a data set is a folder.

    Args:
        root: The path.
        kind: What the folder should contain.

    Raises:
        DataError: It is not.
    """
    if not root.is_dir():
        raise DataError(f"data.root {str(root)!r}: must be a folder of {kind.plural}, found {found_at(root)}.")


def found_at(path: Path) -> str:
    """Return what is at a path where something else is needed, for messages."""
    if path.exists():
        return "a folder" if path.is_dir() else "a file"
    return f"nothing; the working directory is {str(Path.cwd())!r}"


def has_splits(root: Path) -> bool:
    """Return whether an image folder contains folders for splits, so that all others in it are ignored."""
    return bool(split_folders(root))


def list_images(folder: Path) -> list[Path]:
    """Return all image files below a folder, see :func:`list_files`."""
    return list_files(folder, IMAGE_EXTENSIONS)


def list_files(folder: Path, extensions: Collection[str]) -> list[Path]:
    """Return all files with certain endings below a folder, sorted by path; hidden files and folders are ignored.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        # A key starts with the prefix that stands for the folder.
        return [folder / key.partition("/")[2] for key in sorted(_keys(folder, "", extensions, frozenset()))]
    except OSError as error:
        raise DataError(f"{str(folder)!r}: cannot be listed ({error}).") from error


def list_examples(folder: Path, kind: InputKind) -> list[Path]:
    """Return all examples of a kind below a folder, files before folders and sorted by path, or the folder itself.

    Raises:
        DataError: The folder cannot be listed.
    """
    own = INPUTS[kind]
    files = list_files(folder, own.extensions)
    if not own.folder_extensions:
        return files
    try:
        if _has_files(folder, own.folder_extensions):
            return [folder]
        keys = sorted(_folder_keys(folder, "", own.folder_extensions, frozenset()))
    except OSError as error:
        raise DataError(f"{str(folder)!r}: cannot be listed ({error}).") from error
    return [*files, *(folder / key.partition("/")[2] for key in keys)]


def split_folders(root: Path, *, must_have_folders: bool = True) -> dict[SplitName, Path]:
    """Find the folder of each split, in the order of the splits; empty if ``root`` has none.

    Args:
        root: The folder.
        must_have_folders: A folder with images and no folders is no split, but may be a class called ``train``.

    Raises:
        DataError: There are two folders for a split, or a held-out split without ``train``.
    """
    folders: dict[SplitName, Path] = {}
    for split in SplitName:
        matches = [
            entry
            for entry in _folders(root)
            if parse_split(entry.name) is split and (not must_have_folders or _is_split(entry))
        ]
        if len(matches) > 1:
            found = " and ".join(repr(match.name) for match in matches)
            raise DataError(f"data.root {str(root)!r}: there must be one folder for {split}, found {found}.")
        if matches:
            folders[split] = matches[0]
    if folders and SplitName.TRAIN not in folders:
        if must_have_folders and all(not any(_folders(folder)) for folder in folders.values()):
            return {}
        found = ", ".join(repr(folder.name) for folder in folders.values())
        raise DataError(
            f"data.root {str(root)!r}: there must be a folder 'train' beside {found}. "
            "Add it, or give the folder that contains one folder per class."
        )
    return folders


def _is_split(folder: Path) -> bool:
    # A folder named "train" that contains files and no folders is a class of vehicles.
    return any(_folders(folder)) or not any(_is_example(entry.name) for entry in folder.iterdir())


def _is_example(name: str) -> bool:
    return any(has_extension(name, each.extensions | each.folder_extensions) for each in INPUTS.values())


def _scan(root: Path, files: type[Files], report: Report) -> Files:
    """List the files, sorted by class and path, so that the order does not depend on the file system."""
    folders, kind, extensions = _folders(root), files.input_kind, files.extensions()
    if not folders:
        way_out = " Fill or remove it." if not any(root.iterdir()) else ""
        raise DataError(
            f"data: {str(root)!r} contains no class folder. {kind.plural.capitalize()} must be at CLASS/{kind.upper()} "
            f"below it, with one folder per class.{way_out}"
        )
    list_keys = _folder_keys if files.are_folders else _keys
    found = [sorted(list_keys(folder, folder.name, extensions, frozenset())) for folder in folders]
    if empty := [folder.name for folder, keys in zip(folders, found, strict=True) if not keys]:
        raise DataError(
            f"data: {str(root)!r} has class folders without {kind.plural}: {', '.join(map(repr, empty))}. Fill or "
            f"remove them. {kind.capitalize()} files have the extensions {', '.join(sorted(extensions))}."
        )
    if stray := sum(has_extension(entry.name, extensions) for entry in root.iterdir() if entry.is_file()):
        report(Warn(f"data: {plural(stray, kind)} directly in {str(root)!r} without a class are ignored"))
    targets = tuple(target for target, keys in enumerate(found) for _ in keys)
    classes = tuple(folder.name for folder in folders)
    return files(root, classes, tuple(key for keys in found for key in keys), targets)


def _keys(folder: Path, prefix: str, extensions: Collection[str], ancestors: frozenset[str]) -> Iterator[str]:
    """Yield the keys of all files below ``folder``; symbolic links are followed, cycles are not."""
    real = os.path.realpath(folder)
    if real in ancestors:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            key = f"{prefix}/{entry.name}"
            if entry.is_dir() and not is_hidden(entry.name):
                yield from _keys(folder / entry.name, key, extensions, ancestors | {real})
            elif has_extension(entry.name, extensions):
                yield require_portable(key)


def _folder_keys(folder: Path, prefix: str, extensions: Collection[str], ancestors: frozenset[str]) -> Iterator[str]:
    """Yield the keys of all folders below ``folder`` that contain such files, as :func:`_keys` does those of files."""
    real = os.path.realpath(folder)
    if real in ancestors:
        return
    for inside in _folders(folder):
        key = f"{prefix}/{inside.name}"
        if _has_files(inside, extensions):
            yield require_portable(key)
        else:
            yield from _folder_keys(inside, key, extensions, ancestors | {real})


def _has_files(folder: Path, extensions: Collection[str]) -> bool:
    with os.scandir(folder) as entries:
        return any(has_extension(entry.name, extensions) and entry.is_file() for entry in entries)


def require_portable(key: str) -> str:
    """Return a file name unchanged if it can be written on every system and in every file format.

    Raises:
        DataError: The name is not valid UTF-8.
    """
    try:
        key.encode()
    except UnicodeEncodeError:
        raise DataError(f"data: the file name {key!r} is not valid UTF-8. Rename the file.") from None
    return key


def _folders(root: Path) -> Sequence[Path]:
    return sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name)),
        # The order of names is the same on all systems; Windows compares paths case-insensitively.
        key=lambda folder: folder.name,
    )


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is ignored, by its name."""
    # Archives made on macOS contain a folder __MACOSX with a shadow of every image.
    return name.startswith(".") or name == "__MACOSX"


def is_image(name: str) -> bool:
    """Return whether a file is a visible image, by its name."""
    return has_extension(name, IMAGE_EXTENSIONS)


def has_extension(name: str, extensions: Collection[str]) -> bool:
    """Return whether a file is visible and has one of these endings, by its name."""
    return not is_hidden(name) and name.lower().endswith(tuple(extensions))
