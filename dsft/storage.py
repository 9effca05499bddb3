"""Files and folders that are either written whole or not at all."""

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

# Between quotes a line break is written as \\n, so this meets no text.
_NUMBERS = re.compile(r"\[\n(?:\s+-?\d[\d.eE+-]*,?\n)+\s*\]")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: The file; its folder is made when it is missing.
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
    """Write a UTF-8 file atomically, with Unix line ends on every system."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, a list of numbers on one line; NaN and infinities are refused, since JSON has none.

    Raises:
        ValueError: ``value`` holds a NaN or an infinity.
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return JSON as :func:`write_json` writes it.

    Raises:
        ValueError: ``value`` holds a NaN or an infinity.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n"


@contextlib.contextmanager
def staged_folder(target: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that replaces it when the block ends well.

    An exception removes the staged folder and leaves ``target`` as it was. At every moment ``target`` or, where it
    is given, ``previous`` is there and whole.

    Args:
        target: The folder.
        previous: Where the old ``target`` is kept, in the same folder; what was there is removed.
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
def staged_file(target: Path) -> Iterator[Path]:
    """Yield the path of a new file beside ``target`` that replaces it when the block ends well.

    An exception removes the new file and leaves ``target`` as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Some writers go by a file's ending.
    staging = _beside(target, "new").with_suffix(target.suffix)
    try:
        yield staging
        _flush(staging)
        os.replace(staging, target)
    finally:
        staging.unlink(missing_ok=True)


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every file in a folder, as ``sha256sum --check`` reads it."""
    lines = (f"{sha256_of(folder / name)}  {name}\n" for name in sorted(_file_names(folder)))
    write_text(folder / CHECKSUMS_FILE, "".join(lines))


def find_damage(folder: Path) -> str | None:
    """Compare a folder with its ``SHA256SUMS``; return what is wrong with it, or None where it is whole."""
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return f"{CHECKSUMS_FILE} is missing"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if missing := digests.keys() - _file_names(folder) - {""}:
        return f"{min(missing)!r} is missing, which {CHECKSUMS_FILE} lists"
    if unlisted := _file_names(folder) - digests.keys():
        return f"{CHECKSUMS_FILE} is damaged: it does not list {min(unlisted)!r}"
    changed = (name for name, digest in digests.items() if name and sha256_of(folder / name) != digest)
    found = next(changed, None)
    return None if found is None else f"the SHA-256 of {found!r} is not that in {CHECKSUMS_FILE}"


def require_overwritable(folder: Path, kind: str, marks: Collection[str], *, overwrite: bool) -> None:
    """Check that a folder may be written; change nothing.

    Args:
        folder: The output folder; it need not exist.
        kind: What is written there, such as ``run``.
        marks: The files by which an earlier one is known.
        overwrite: An earlier one may be replaced.

    Raises:
        OutputError: The folder is not empty, and either ``overwrite`` is off or it is no earlier one.
    """
    is_ours = all((folder / name).is_file() for name in marks)
    if folder.is_dir() and any(folder.iterdir()) and not is_ours:
        raise OutputError(
            f"output folder {str(folder)!r} is not empty, and no earlier {kind} of dsft that could be overwritten "
            f"(it has no {' and '.join(marks)}). Choose another folder."
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output {str(folder)!r}: a folder is needed, found a file. Choose another folder.")
    if is_ours and not overwrite:
        raise OutputError(
            f"output folder {str(folder)!r} is not empty. Choose another folder, or allow the {kind} in it to be "
            "replaced with --overwrite."
        )


def require_replaceable(folder: Path, kind: str, marks: Collection[str], *, overwrite: bool) -> None:
    """Check that :func:`staged_folder` can put a folder in the place of this one, and may; change nothing.

    Raises:
        OutputError: See :func:`require_overwritable`; or it is the working folder, or one that holds it, or is mounted.
    """
    place, here = folder.resolve(), Path.cwd().resolve()
    if folder.is_dir() and (place == here or place in here.parents or place.is_mount()):
        raise OutputError(
            f"output folder {str(folder)!r}: is the working folder, one above it, or mounted, so that no other can "
            "take its place. Name a folder in it."
        )
    require_overwritable(folder, kind, marks, overwrite=overwrite)


def require_free_file(path: Path, *, overwrite: bool) -> None:
    """Check that a file may be written; change nothing.

    Raises:
        OutputError: It exists and ``overwrite`` is off, or it is a folder.
    """
    if path.is_dir():
        raise OutputError(f"output {str(path)!r}: a file is needed, found a folder. Choose another name.")
    if path.exists() and not overwrite:
        raise OutputError(f"output {str(path)!r} exists. Choose another name, or replace it with --overwrite.")


def cache_folder() -> Path:
    """Return where what can be computed anew is kept: ``$DSFT_CACHE``, or a folder in the system's place for caches.

    That is ``$XDG_CACHE_HOME`` where it is set, else ``~/.cache``, ``~/Library/Caches`` or ``%LOCALAPPDATA%``.
    """
    if own := os.environ.get("DSFT_CACHE"):
        return at_home(own)
    places = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    place = os.environ.get("XDG_CACHE_HOME") or places.get(sys.platform, "~/.cache")
    return at_home(place) / "dsft"


def at_home(path: str | Path) -> Path:
    """Return a path with the home folder in the place of a leading ``~``; as it is where the system knows none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's raises)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} - {CHECKSUMS_FILE}


def _replace_folder(staging: Path, target: Path, previous: Path | None) -> None:
    # A folder with files in it cannot be renamed over, so the old one steps aside first.
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
    """Remove what a process that was killed left beside ``target``; an old one only where there is a newer."""
    roles = "new|old" if target.exists() else "new"
    leftover = re.compile(rf"\.{re.escape(target.name)}\.\d+\.({roles})")
    for path in target.parent.iterdir():
        if leftover.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the system write a file's content to the disk before anything is renamed."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Have the system write a folder's own entries to the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, role: str) -> Path:
    """Name a hidden neighbour of ``path``: the same folder, so that a rename stays on one file system."""
    return path.absolute().with_name(f".{path.name}.{os.getpid()}.{role}")
