"""webdataset shards: tar files in which the files of a sample lie beside each other under one name.

The headers are read once, and from then on any image at its place in its shard: so shards are split, shuffled and
resumed as every other source, which a stream of them could not be.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from PIL import Image

from dsft.choices import SplitName
from dsft.data.decoding import decode_image
from dsft.data.sources.folder import is_image
from dsft.data.sources.images import ImageSource
from dsft.data.sources.naming import named_split, sorted_labels
from dsft.errors import DataError
from dsft.progress import Note, Report, ignore
from dsft.storage import at_home

_LABELS = (".cls", ".json")
_JSON_KEYS = ("label", "cls", "class")


@dataclass(frozen=True)
class _Member:
    """Where in which shard the bytes of an image are."""

    shard: Path
    start: int
    size: int


@dataclass(frozen=True)
class ImageShards:
    """Images inside of tar files; a key is the name of the shard and that of the image in it."""

    root: Path
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    targets: tuple[int, ...]
    members: tuple[_Member, ...]
    in_memory: ClassVar[bool] = False

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.root)

    def identity(self, index: int) -> str:
        """Return the size of the image's file in bytes."""
        return str(self.members[index].size)

    def read(self, index: int) -> Image.Image:
        """Decode one image (see :func:`dsft.data.decoding.decode_image`)."""
        member = self.members[index]
        try:
            with member.shard.open("rb") as file:
                file.seek(member.start)
                content = file.read(member.size)
        except OSError as error:
            raise DataError(f"{self.keys[index]!r} in {str(self.root)!r} cannot be read ({error}).") from error
        return decode_image(content, self.keys[index])


def open_wds(root: Path, report: Report = ignore) -> Mapping[SplitName, ImageSource]:
    """Return the splits that a folder of webdataset shards has.

    Shards in whose name, or else in whose folder's, one of the words is ``train``, ``val`` or ``test`` (or a synonym)
    belong to that split; where none has one, all are ``train``. A sample is an image and a file ``.cls`` with its
    class, or else ``.json`` with ``label``, ``cls`` or ``class``. Classes are sorted; where all are whole numbers, by
    their value.

    Args:
        root: The folder, which holds uncompressed tar files at any depth.
        report: Is told how many shards serve as which split.

    Raises:
        DataError: There is no shard, or one is damaged, or an image has no class.
    """
    root = at_home(root)
    shards = sorted(root.rglob("*.tar"))
    if not shards:
        raise DataError(f"data.root {str(root)!r}: a folder with shards is needed (*.tar, not compressed), found none.")
    parts = _by_split(root, shards)
    report(Note(f"data: {', '.join(f'{len(files)} shards as {name}' for name, files in parts.items())}"))
    return {name: _scan(root, files) for name, files in parts.items()}


def _by_split(root: Path, shards: Sequence[Path]) -> dict[SplitName, list[Path]]:
    parts: dict[SplitName, list[Path]] = {}
    nameless: list[Path] = []
    for shard in shards:
        split = _split_of(shard.relative_to(root))
        (parts.setdefault(split, []) if split is not None else nameless).append(shard)
    if not parts:
        return {SplitName.TRAIN: nameless}
    if nameless or SplitName.TRAIN not in parts:
        found = f"{str(nameless[0])!r}, which names none" if nameless else f"only {', '.join(parts)}"
        raise DataError(
            f"data.root {str(root)!r}: where shards are named after splits each must be, and train among them; found "
            f"{found}. Rename it, such as train-0000.tar."
        )
    return parts


def _split_of(path: Path) -> SplitName | None:
    # The file's own name first, then that of its folder.
    words = (word for part in reversed(path.parts) for word in re.findall("[A-Za-z]+", part))
    found = map(named_split, words)
    return next((split for split in found if split is not None), None)


def _scan(root: Path, shards: Sequence[Path]) -> ImageShards:
    rows = [row for shard in shards for row in _samples(root, shard)]
    classes = sorted_labels(label for _, label, _ in rows)
    numbers = {label: number for number, label in enumerate(classes)}
    return ImageShards(
        root,
        classes,
        tuple(key for key, _, _ in rows),
        tuple(numbers[label] for _, label, _ in rows),
        tuple(member for _, _, member in rows),
    )


def _samples(root: Path, shard: Path) -> Iterator[tuple[str, str, _Member]]:
    """Yield key, label and place of every image of a shard, in its order."""
    place = shard.relative_to(root).as_posix()
    images: dict[str, tuple[str, _Member]] = {}
    labels: dict[str, dict[str, tuple[str, bytes]]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                # A sample's name ends with the first dot of its last part.
                sample, _, ending = path.name.partition(".")
                sample = str(path.parent / sample)
                if entry.isfile() and is_image(path.name):
                    if sample in images:
                        raise DataError(f"{str(shard)!r}: {sample!r} has two images; one is needed.")
                    images[sample] = (f"{place}/{path}", _Member(shard, entry.offset_data, entry.size))
                elif entry.isfile() and f".{ending}" in _LABELS and (file := archive.extractfile(entry)) is not None:
                    labels.setdefault(sample, {})[f".{ending}"] = (f"{place}/{path}", file.read())
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{str(shard)!r} cannot be read as a tar file ({error}). Copy or write it anew.") from error
    for sample, (key, member) in images.items():
        if sample not in labels:
            raise DataError(f"{str(shard)!r}: {sample!r} has an image and no class: {' or '.join(_LABELS)} is needed.")
        # Where a class has its own file, the other describes the image.
        ending = next(ending for ending in _LABELS if ending in labels[sample])
        yield key, _label(*labels[sample][ending], ending), member


def _label(key: str, content: bytes, ending: str) -> str:
    try:
        label = content.decode().strip() if ending == ".cls" else _json_label(content)
    except (UnicodeDecodeError, ValueError, TypeError) as error:
        raise _no_label(key, content, ending) from error
    if not label:
        raise _no_label(key, content, ending)
    return label


def _json_label(content: bytes) -> str:
    values = json.loads(content)
    label = next((values[name] for name in _JSON_KEYS if name in values), None)
    # A truth value is a number in Python.
    return str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""


def _no_label(key: str, content: bytes, ending: str) -> DataError:
    rule = "a class in UTF-8" if ending == ".cls" else f"JSON with one class as {', '.join(_JSON_KEYS)}"
    return DataError(f"{key!r}: must hold {rule}, found {content[:40]!r}.")
