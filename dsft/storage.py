"""Atomic writes of files and folders, checksums, and checks of output paths."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dsft.errors import OutputError

CHECKSUMS_FILE = "SHA256SUMS"

# Strings contain no line breaks in JSON, so this matches lists of numbers only.
_NUMBERS = re.compile(r"\[\n(?:\s+-?\d[\d.eE+-]*,?\n)+\s*\]")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees either the old content or the new content.

    Args:
        path: The file; a missing folder is created.
        content: The new content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 file atomically, with Unix line endings on every system."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with lists of numbers on one line.

    Raises:
        ValueError: ``value`` contains NaN or infinity, which JSON does not support.
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return a value as JSON, with lists of numbers on one line.

    Raises:
        ValueError: ``value`` contains NaN or infinity, which JSON does not support.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n"


@contextlib.contextmanager
def staged_folder(target: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that replaces it if the block succeeds.

    An exception removes the staged folder and leaves ``target`` unchanged. At any time either ``target`` or, if given,
    ``previous`` exists and is complete.

    Args:
        target: The folder.
        previous: New path of the old ``target``, in the same folder; an existing folder there is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    staging = _beside(target, "new")
    staging.mkdir()
    try:
        yield staging
        for path in staging.rglob("*"):
            if path.is_file():
                _flush(path)
        _flush_folder(staging)
        _replace_folder(staging, target, previous)
        _flush_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def staged_file(target: Path, further_suffixes: Collection[str] = ()) -> Iterator[Path]:
    """Yield the path of a new file beside ``target`` that replaces it if the block succeeds.

    An exception removes the new file and leaves ``target`` unchanged.

    Args:
        target: The file.
        further_suffixes: The block writes further files with these suffixes, which replace those beside ``target``
            first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Some writers choose the format by the extension.
    staging = _beside(target, "new").with_suffix(target.suffix)
    suffixes = (*further_suffixes, target.suffix)
    try:
        yield staging
        for suffix in suffixes:
            _flush(staging.with_suffix(suffix))
        for suffix in suffixes:
            os.replace(staging.with_suffix(suffix), target.with_suffix(suffix))
    finally:
        for suffix in suffixes:
            staging.with_suffix(suffix).unlink(missing_ok=True)


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` for all files in a folder, in the format of ``sha256sum --check``."""
    lines = (f"{sha256_of(folder / name)}  {name}\n" for name in sorted(_file_names(folder)))
    write_text(folder / CHECKSUMS_FILE, "".join(lines))


def find_damage(folder: Path) -> str | None:
    """Compare a folder with its ``SHA256SUMS``; return a description of the damage, or None if there is none."""
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return f"{CHECKSUMS_FILE} is missing"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if missing := digests.keys() - _file_names(folder) - {""}:
        return f"{min(missing)!r} is missing, but listed in {CHECKSUMS_FILE}"
    if unlisted := _file_names(folder) - digests.keys():
        return f"{CHECKSUMS_FILE} is damaged: it does not list {min(unlisted)!r}"
    changed = (name for name, digest in digests.items() if name and sha256_of(folder / name) != digest)
    found = next(changed, None)
    return None if found is None else f"the SHA-256 of {found!r} differs from that in {CHECKSUMS_FILE}"


def require_overwritable(folder: Path, kind: str, marks: Collection[str], *, overwrite: bool) -> None:
    """Check that an output folder may be written to.

    Args:
        folder: The output folder; it need not exist.
        kind: What is written there, such as ``run``.
        marks: Files that identify an earlier output of the same kind.
        overwrite: Allow replacing an earlier output.

    Raises:
        OutputError: The folder is not empty, and either ``overwrite`` is off or it is not an earlier output; or it
            cannot be written.
    """
    _require_writable(folder, folder)
    is_ours = all((folder / name).is_file() for name in marks)
    if folder.is_dir() and any(folder.iterdir()) and not is_ours:
        raise OutputError(
            f"output folder {str(folder)!r} is not empty, and contains no {kind} of dsft that can be overwritten "
            f"(there is no {' and '.join(marks)}). Choose another folder."
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output {str(folder)!r}: must be a folder, found a file. Choose another folder.")
    if is_ours and not overwrite:
        raise OutputError(
            f"output folder {str(folder)!r} is not empty. Choose another folder, or allow the {kind} in it to be "
            "replaced with --overwrite."
        )


def require_replaceable(folder: Path, kind: str, marks: Collection[str], *, overwrite: bool) -> None:
    """Check that :func:`staged_folder` can and may replace an output folder.

    Raises:
        OutputError: See :func:`require_overwritable`; or the folder is the working directory, a parent of it, or a
            mount point.
    """
    place, here = folder.resolve(), Path.cwd().resolve()
    if folder.is_dir() and (place == here or place in here.parents or place.is_mount()):
        raise OutputError(
            f"output folder {str(folder)!r}: is the working directory, a parent of it, or a mount point, and cannot be "
            "replaced. Use a subfolder."
        )
    _require_writable(folder.parent, folder)
    require_overwritable(folder, kind, marks, overwrite=overwrite)


def require_free_file(path: Path, *, overwrite: bool) -> None:
    """Check that an output file may be written.

    Raises:
        OutputError: The file exists and ``overwrite`` is off, or it is a folder, or its folder cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"output {str(path)!r}: must be a file, found a folder. Choose another name.")
    if path.exists() and not overwrite:
        raise OutputError(f"output {str(path)!r} exists. Choose another name, or replace it with --overwrite.")
    _require_writable(path.parent, path)


def _require_writable(folder: Path, output: Path) -> None:
    """Check that a folder, or the nearest one above it that exists, can be written to.

    Args:
        folder: The folder; a file in its place is left to the caller.
        output: What is to be written, for the message.

    Raises:
        OutputError: It cannot.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() and place != output.absolute():
        raise OutputError(f"output {str(output)!r}: {str(place)!r} is a file, and no folder. Choose another place.")
    if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(
            f"output {str(output)!r}: this user may not write to the folder {str(place)!r}. Choose another place, or "
            "change its permissions."
        )


def cache_folder() -> Path:
    """Return the folder for cached results: ``$DSFT_CACHE``, or ``dsft`` in the cache folder of the system.

    The latter is ``$XDG_CACHE_HOME`` if set, else ``~/.cache``, ``~/Library/Caches`` or ``%LOCALAPPDATA%``.
    """
    if own := os.environ.get("DSFT_CACHE"):
        return at_home(own)
    places = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    place = os.environ.get("XDG_CACHE_HOME") or places.get(sys.platform, "~/.cache")
    return at_home(place) / "dsft"


def at_home(path: str | Path) -> Path:
    """Expand a leading ``~`` to the home folder; without a known home folder the path is unchanged."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's raises)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} - {CHECKSUMS_FILE}


def _replace_folder(staging: Path, target: Path, previous: Path | None) -> None:
    # A non-empty folder cannot be replaced by renaming, so the old one is moved first.
    if not target.exists():
        os.replace(staging, target)
        return
    aside = previous or _beside(target, "old")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(target, aside)
    try:
        os.replace(staging, target)
    except BaseException:
        os.replace(aside, target)
        raise
    if previous is None:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary folders of a killed process; a moved old folder only if ``target`` exists."""
    roles = "new|old" if target.exists() else "new"
    leftover = re.compile(rf"\.{re.escape(target.name)}\.\d+\.({roles})")
    for path in target.parent.iterdir():
        if leftover.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _flush(path: Path) -> None:
    """Flush a file to disk, before it is renamed."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk; not needed on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, role: str) -> Path:
    """Return a hidden path in the same folder, so that it can be renamed within one file system."""
    return path.absolute().with_name(f".{path.name}.{os.getpid()}.{role}")
