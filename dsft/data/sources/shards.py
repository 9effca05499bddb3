"""webdataset shards: tar files in which the files of a sample share one name.

The headers are read once; then any image can be read at its offset in its shard. Therefore shards can be split,
shuffled and resumed like any other source, unlike a stream.
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
from dsft.data.sources.naming import parse_split, sorted_labels
from dsft.errors import DataError
from dsft.number_format import plural
from dsft.progress import Note, Report, ignore
from dsft.storage import at_home

_LABELS = (".cls", ".json")
_JSON_KEYS = ("label", "cls", "class")


@dataclass(frozen=True)
class _Member:
    """Location of an image file in a shard."""

    shard: Path
    start: int
    size: int


@dataclass(frozen=True)
class ImageShards:
    """Images in tar files; a key consists of the shard's path and the name of the image in it."""

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
        """Return the size of the image file in bytes."""
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
    """Return the splits of a folder of webdataset shards.

    A shard belongs to the split whose name (``train``, ``val``, ``test`` or a synonym) is a word of its file name or,
    failing that, of its folder's name. If no shard has such a name, all are ``train``. A sample consists of an image
    and a file ``.cls`` with its class, or ``.json`` with the class as ``label``, ``cls`` or ``class``. Classes are in
    alphabetical or, if all are integers, in numerical order.

    Args:
        root: A folder with uncompressed tar files at any depth.
        report: Receives the number of shards of each split.

    Raises:
        DataError: There are no shards, a shard is damaged, or an image has no class.
    """
    root = at_home(root)
    shards = sorted(root.rglob("*.tar"))
    if not shards:
        raise DataError(f"data.root {str(root)!r}: must contain uncompressed shards (*.tar), found none.")
    parts = _by_split(root, shards)
    counts = [f"{plural(len(files), 'shard')} as {name}" for name, files in parts.items()]
    report(Note(f"data: {', '.join(counts)}"))
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
        found = f"{str(nameless[0])!r} without one" if nameless else f"only {', '.join(parts)}"
        raise DataError(
            f"data.root {str(root)!r}: if shards have the name of a split, all must have one, and some must be train; "
            f"found {found}. Rename it, such as train-0000.tar."
        )
    return parts


def _split_of(path: Path) -> SplitName | None:
    # The name of the file takes precedence over that of its folder.
    words = (word for part in reversed(path.parts) for word in re.findall("[A-Za-z]+", part))
    found = map(parse_split, words)
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
    """Yield key, label and location of every image of a shard, in the order of the shard."""
    place = shard.relative_to(root).as_posix()
    images: dict[str, tuple[str, _Member]] = {}
    labels: dict[str, dict[str, tuple[str, bytes]]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                # The name of a sample extends to the first dot of the file name.
                sample, _, ending = path.name.partition(".")
                sample = str(path.parent / sample)
                if entry.isfile() and is_image(path.name):
                    if sample in images:
                        raise DataError(f"{str(shard)!r}: {sample!r} must have one image, found two.")
                    images[sample] = (f"{place}/{path}", _Member(shard, entry.offset_data, entry.size))
                elif entry.isfile() and f".{ending}" in _LABELS and (file := archive.extractfile(entry)) is not None:
                    labels.setdefault(sample, {})[f".{ending}"] = (f"{place}/{path}", file.read())
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{str(shard)!r} cannot be read as a tar file ({error}). Copy or create it again.") from error
    for sample, (key, member) in images.items():
        if sample not in labels:
            raise DataError(f"{str(shard)!r}: {sample!r} has an image but no class. Add {' or '.join(_LABELS)}.")
        # A .json beside a .cls is a description of the image.
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
    # In Python, bool is a subclass of int.
    return str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""


def _no_label(key: str, content: bytes, ending: str) -> DataError:
    rule = "a class in UTF-8" if ending == ".cls" else f"JSON with one class as {' or '.join(_JSON_KEYS)}"
    return DataError(f"{key!r}: must contain {rule}, found {content[:40]!r}.")
