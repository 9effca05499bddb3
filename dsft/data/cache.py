"""Decoded images kept in memory, shared by the processes that read them."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from dsft.choices import Cache
from dsft.data.labels import Target
from dsft.data.sources import ImageSource
from dsft.process_memory import free_memory

_SHARES = {Cache.AUTO: 0.25, Cache.RAM: 0.8}
_PATIENCE_S = 5.0


class CachedSource:
    """A source whose images are decoded once, until the memory set aside for them is full.

    The pixels lie in memory that forked processes share, so that what one of them decodes the others find. What no
    longer fits is decoded anew each time.

    Args:
        source: The images.
        capacity: Bytes that pixels may take; they are taken as they fill.
    """

    def __init__(self, source: ImageSource, capacity: int) -> None:
        self._source = source
        self._pixels = np.frombuffer(mmap.mmap(-1, capacity), dtype=np.uint8)
        # Start, width, height and channels of each image; channels come last, and 0 says that it is not here.
        table = mmap.mmap(-1, max(len(source.targets), 1) * 4 * 8)
        self._table = np.frombuffer(table, dtype=np.int64).reshape(-1, 4)
        self._used = np.frombuffer(mmap.mmap(-1, 8), dtype=np.int64)
        self._lock = multiprocessing.get_context("fork").Lock()

    @property
    def origin(self) -> str:
        """What the source is called."""
        return self._source.origin

    @property
    def classes(self) -> tuple[str, ...]:
        """The source's classes."""
        return self._source.classes

    @property
    def keys(self) -> Sequence[str]:
        """The names of its images."""
        return self._source.keys

    @property
    def targets(self) -> Sequence[Target]:
        """The classes of its images."""
        return self._source.targets

    @property
    def in_memory(self) -> bool:
        """Whether the first reading costs no file access."""
        return self._source.in_memory

    @property
    def held(self) -> int:
        """Number of images that are in memory."""
        return int((self._table[:, 3] > 0).sum())

    def identity(self, index: int) -> str:
        """Return what the source says."""
        return self._source.identity(index)

    def read(self, index: int) -> Image.Image:
        """Return an image from memory, or decode it and keep it."""
        start, width, height, channels = self._table[index].tolist()
        if channels:
            pixels = self._pixels[start : start + width * height * channels]
            mode, size = ("L", (width, height)) if channels == 1 else ("RGB", (width, height))
            return Image.frombytes(mode, size, pixels.tobytes())
        image = self._source.read(index)
        if image.mode in ("L", "RGB"):
            self._keep(index, image)
        return image

    def _keep(self, index: int, image: Image.Image) -> None:
        pixels = np.asarray(image).ravel()
        with self._held_lock() as is_held:
            start = int(self._used[0])
            if not is_held or start + len(pixels) > len(self._pixels):
                return
            self._used[0] = start + len(pixels)
        self._pixels[start : start + len(pixels)] = pixels
        self._table[index, :3] = start, image.width, image.height
        self._table[index, 3] = len(image.getbands())

    @contextlib.contextmanager
    def _held_lock(self) -> Iterator[bool]:
        # A process that is killed while it holds the lock must not stop the others for good.
        is_held = self._lock.acquire(timeout=_PATIENCE_S)
        try:
            yield is_held
        finally:
            if is_held:
                self._lock.release()


def with_cache(source: ImageSource, cache: Cache, part: float = 1.0) -> ImageSource:
    """Return a source that keeps decoded images, or the same where that is not asked for, useful or possible.

    ``auto`` fills at most a quarter of the memory that is free now, ``ram`` most of it. Where processes do not start
    as copies of this one (Windows, macOS), they could not share what is kept, and nothing is.

    Args:
        source: The images.
        cache: What is asked for.
        part: Of that memory what this source may take, where others and other programs take theirs beside it.
    """
    share = _SHARES.get(cache)
    free = free_memory()
    if share is None or free is None or source.in_memory or not _forks():
        return source
    try:
        return CachedSource(source, max(int(share * free * part), mmap.PAGESIZE))
    except (OSError, OverflowError):  # a system that promises no memory which it has not
        return source


def _forks() -> bool:
    return multiprocessing.get_start_method(allow_none=False) == "fork"
