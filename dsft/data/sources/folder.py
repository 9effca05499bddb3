"""Folders of images: one folder a class, in one tree or in a tree each for train, val and test."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from dsft.choices import SplitName
from dsft.data.sources.images import ImageFiles, ImageSource
from dsft.data.sources.naming import named_split
from dsft.errors import DataError
from dsft.progress import Note, Report, Warn, ignore
from dsft.storage import at_home

IMAGE_EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def open_folder(root: Path, report: Report = ignore) -> Mapping[SplitName, ImageSource]:
    """Return the splits that a folder of images has.

    Either ``root`` holds one folder a class, which is returned as ``train``, or it holds ``train`` (or
    ``training``) and maybe ``val`` (``valid``, ``validation``) and ``test`` (``testing``), each with one
    folder a class. Images may lie at any depth below their class; hidden files and folders do not count.

    Args:
        root: The folder.
        report: Is told which folder serves as which split, and what is left out.

    Raises:
        DataError: It is missing, holds no class folder, an empty one, or no ``train`` beside its ``val``.
    """
    root = at_home(root)
    if not root.is_dir():
        found = "a file" if root.exists() else f"nothing; the current folder is {str(Path.cwd())!r}"
        raise DataError(f"data.root {str(root)!r}: a folder of images is needed, found {found}.")
    try:
        folders = _split_folders(root)
        if not folders:
            return {SplitName.TRAIN: _scan(root, report)}
        report(Note(f"data: {', '.join(f'{str(folder)!r} as {split}' for split, folder in folders.items())}"))
        if others := [folder.name for folder in _folders(root) if folder not in folders.values()]:
            report(Warn(f"data: {', '.join(map(repr, others))} in {str(root)!r} is no split and is left out"))
        return {split: _scan(folder, report) for split, folder in folders.items()}
    except OSError as error:
        raise DataError(f"data.root {str(root)!r}: cannot be listed ({error}).") from error


def has_splits(root: Path) -> bool:
    """Say whether a folder of images has a folder for each split, so that others in it are left out."""
    return bool(_split_folders(root))


def list_images(folder: Path) -> list[Path]:
    """Return every image file below a folder, sorted by path; hidden files and folders do not count.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        # The key begins with the folder's own place, which stands for it here.
        return [folder / key.partition("/")[2] for key in sorted(_images(folder, "", frozenset()))]
    except OSError as error:
        raise DataError(f"{str(folder)!r}: cannot be listed ({error}).") from error


def _split_folders(root: Path) -> dict[SplitName, Path]:
    """Find the folder of each split, in the order of the splits; nothing where ``root`` holds classes."""
    folders: dict[SplitName, Path] = {}
    for split in SplitName:
        matches = [entry for entry in _folders(root) if named_split(entry.name) is split and _is_split(entry)]
        if len(matches) > 1:
            found = " and ".join(repr(match.name) for match in matches)
            raise DataError(f"data.root {str(root)!r}: one folder for {split} is needed, found {found}.")
        if matches:
            folders[split] = matches[0]
    if folders and SplitName.TRAIN not in folders:
        if all(not any(_folders(folder)) for folder in folders.values()):
            return {}
        found = ", ".join(repr(folder.name) for folder in folders.values())
        raise DataError(
            f"data.root {str(root)!r}: a folder 'train' is needed beside {found}. "
            "Add it, or give a folder whose own folders are the classes."
        )
    return folders


def _is_split(folder: Path) -> bool:
    # A folder called "train" with images in it and no folders is a class: vehicles have trains.
    return any(_folders(folder)) or not any(is_image(entry.name) for entry in folder.iterdir())


def _scan(root: Path, report: Report) -> ImageFiles:
    """List one folder a class, sorted by class and by path so that no file system's order shows."""
    folders = _folders(root)
    if not folders:
        raise DataError(
            f"data: {str(root)!r} holds no class folder. Images are found as CLASS/IMAGE below it, "
            "one folder for each class."
        )
    images = [sorted(_images(folder, folder.name, frozenset())) for folder in folders]
    if empty := [folder.name for folder, keys in zip(folders, images, strict=True) if not keys]:
        raise DataError(
            f"data: {str(root)!r} has class folders without an image: {', '.join(map(repr, empty))}. "
            f"Fill or remove them. Images end in {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    if stray := sum(is_image(entry.name) for entry in root.iterdir() if entry.is_file()):
        report(Warn(f"data: {stray} image(s) directly in {str(root)!r} belong to no class and are left out"))
    targets = tuple(target for target, keys in enumerate(images) for _ in keys)
    classes = tuple(folder.name for folder in folders)
    return ImageFiles(root, classes, tuple(key for keys in images for key in keys), targets)


def _images(folder: Path, prefix: str, ancestors: frozenset[str]) -> Iterator[str]:
    """Yield the key of every image below ``folder``, following links but no loop of them."""
    real = os.path.realpath(folder)
    if real in ancestors:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            key = f"{prefix}/{entry.name}"
            if entry.is_dir() and not is_hidden(entry.name):
                yield from _images(folder / entry.name, key, ancestors | {real})
            elif is_image(entry.name):
                yield require_portable(key)


def require_portable(key: str) -> str:
    """Return a file's name, where every system and file format can write it.

    Raises:
        DataError: It has bytes that are no text.
    """
    try:
        key.encode()
    except UnicodeEncodeError:
        raise DataError(f"data: the file name {key!r} is no valid UTF-8. Rename the file.") from None
    return key


def _folders(root: Path) -> Sequence[Path]:
    return sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name)),
        # By name, which sorts alike everywhere; Windows compares paths without regard to case.
        key=lambda folder: folder.name,
    )


def is_hidden(name: str) -> bool:
    """Whether a file or folder does not count, by its name."""
    # macOS archives carry a folder __MACOSX with a shadow of every image.
    return name.startswith(".") or name == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    return not is_hidden(name) and PurePath(name).suffix.lower() in IMAGE_EXTENSIONS
