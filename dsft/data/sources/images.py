"""The interface of an image source, and its implementations for files on disk and an array in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import InputKind, TargetKind
from dsft.data.boxes import Boxes
from dsft.data.inputs import INPUTS
from dsft.data.labels import Target, has_label_sets


class Source(Protocol):
    """A list of labelled examples: images, or inputs of another kind.

    Attributes:
        origin: Name of the source in messages, such as its folder.
        classes: Names of the classes; a target is an index into them.
        keys: Key of each example: unique, and the same on every system, with ``/`` as separator.
        targets: Class of each example or, for multi-label data, its labels.
        in_memory: Whether reading an example requires no file access.
    """

    @property
    def origin(self) -> str: ...  # noqa: D102 - the class docstring documents the attributes
    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def keys(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def targets(self) -> Sequence[Target]: ...  # noqa: D102
    @property
    def in_memory(self) -> bool: ...  # noqa: D102

    def identity(self, index: int) -> str:
        """Return a short text that changes if the content of an example changes."""
        ...

    def read(self, index: int) -> Any:
        """Return an example, as :meth:`dsft.data.inputs.InputType.read_file` does.

        Raises:
            DataError: The example cannot be read; the message contains its name.
        """
        ...


class ImageSource(Source, Protocol):
    """A list of labelled images."""

    def read(self, index: int) -> Image.Image:
        """Return an image with 8 bits per channel, in mode ``L`` or ``RGB``.

        Raises:
            DataError: The image cannot be read; the message contains its name.
        """
        ...


class DenseSource(ImageSource, Protocol):
    """A list of images whose ground truth is another picture. Their :attr:`targets` are empty sets of labels.

    Attributes:
        target_kind: What the pictures are.
    """

    @property
    def target_kind(self) -> TargetKind: ...  # noqa: D102

    def read_target(self, index: int) -> Image.Image | None:
        """Return the ground truth of an image: class indices in mode ``L`` (255: no class), or another image.

        None stands for the image itself, of which a degraded copy is restored.

        Raises:
            DataError: It cannot be read, or does not fit the image.
        """
        ...


class BoxSource(ImageSource, Protocol):
    """A list of images whose ground truth is boxes. Their :attr:`targets` are the classes of the boxes.

    Attributes:
        most_boxes: Largest number of boxes of an image.
    """

    @property
    def most_boxes(self) -> int: ...  # noqa: D102

    def read_target(self, index: int) -> Boxes:
        """Return the boxes of an image, with classes as indices into :attr:`classes`.

        Raises:
            DataError: They cannot be read.
        """
        ...


def input_kind_of(source: Source) -> InputKind:
    """Return what the examples of a source are; images unless its attribute ``input_kind`` says otherwise."""
    kind: InputKind = getattr(source, "input_kind", InputKind.IMAGE)
    return kind


def target_kind_of(source: Source) -> TargetKind:
    """Return what a source has as the ground truth of an example."""
    kind: TargetKind | None = getattr(source, "target_kind", None)
    return kind or (TargetKind.LABELS if has_label_sets(source.targets) else TargetKind.CLASS)


@dataclass(frozen=True)
class ExampleFiles:
    """Files below a folder, one for each example; a key is the path relative to the folder.

    Attributes:
        table: The table that lists them; None if all files of the folder are.
        are_folders: Each example is a folder of files.
    """

    root: Path
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    targets: tuple[Target, ...]
    table: Path | None = None
    in_memory: ClassVar[bool] = False
    input_kind: ClassVar[InputKind] = InputKind.IMAGE
    are_folders: ClassVar[bool] = False

    @classmethod
    def extensions(cls) -> frozenset[str]:
        """Return the endings of the files, or of those in the folders."""
        own = INPUTS[cls.input_kind]
        return own.folder_extensions if cls.are_folders else own.extensions

    @property
    def origin(self) -> str:
        """The folder, or the table."""
        return str(self.table or self.root)

    def identity(self, index: int) -> str:
        """Return the size of the file in bytes; hashing millions of files would take too long."""
        try:
            return str((self.root / self.keys[index]).stat().st_size)
        except OSError:  # such as a broken link; the loader handles unreadable images
            return "missing"

    def read(self, index: int) -> Any:
        """Decode one file, see :meth:`dsft.data.inputs.InputType.read_file`."""
        return INPUTS[self.input_kind].read_file(self.root / self.keys[index])


@dataclass(frozen=True)
class ImageFiles(ExampleFiles):
    """Image files below a folder."""

    def read(self, index: int) -> Image.Image:
        """Decode one file (see :func:`dsft.data.decoding.read_image`)."""
        image: Image.Image = super().read(index)
        return image


@dataclass(frozen=True)
class SignalFiles(ExampleFiles):
    """Sound files below a folder."""

    input_kind: ClassVar[InputKind] = InputKind.SIGNAL


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Examples in one array, whose first axis they are."""

    origin: str
    classes: tuple[str, ...]
    values: NDArray[Any]
    targets: tuple[Target, ...]
    in_memory: ClassVar[bool] = True

    @property
    def keys(self) -> Sequence[str]:
        """The indices of the examples, zero-padded so that their order is alphabetical."""
        digits = len(str(len(self.targets)))
        return [f"{index:0{digits}d}" for index in range(len(self.targets))]

    def identity(self, index: int) -> str:
        """Return the SHA-256 of the values."""
        return hashlib.sha256(np.ascontiguousarray(self.values[index]).data).hexdigest()


@dataclass(frozen=True, eq=False)
class ImageArray(ArraySource):
    """Images ``(count, height, width)`` or ``(count, height, width, 3)`` in one array of 8-bit integers."""

    def read(self, index: int) -> Image.Image:
        """Return a copy of one image."""
        pixels: Any = self.values[index]
        return Image.fromarray(np.ascontiguousarray(pixels))
