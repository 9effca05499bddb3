"""A cache of decoded images in memory that the data loader's workers share."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import Cache, TargetKind
from dsft.data.boxes import Boxes
from dsft.data.labels import Target
from dsft.data.shared_memory import allocate_shared, shareable_memory
from dsft.data.sources import BoxSource, DenseSource, ImageSource, target_kind_of
from dsft.process_memory import free_memory
from dsft.progress import Report, Warn, ignore

_SHARES = {Cache.AUTO: 0.25, Cache.RAM: 0.8}
_LOCK_TIMEOUT_S = 5.0
_FIELDS = 4  # of a row of the table: offset, width, height and channels of an image
_WORD = np.dtype(np.int64)


class CachedSource:
    """A source that decodes each image once, until its memory is full.

    The pixels are in memory that all worker processes share, so that an image decoded by one of them is available to
    the others. Images that do not fit any more are decoded each time. The shared block holds the number of bytes in
    use, a table with one row per image, and the pixels. A row is written and read under a lock, after its pixels were
    written, so that a process which sees the row sees the pixels too, on processors that reorder memory accesses as
    well.

    Args:
        source: The images.
        capacity: Bytes for the pixels.

    Raises:
        OSError: The system cannot provide the memory.
        OverflowError: The capacity does not fit into an address.
    """

    def __init__(self, source: ImageSource, capacity: int) -> None:
        self._source = source
        self.capacity = capacity
        self._pixels_at = _WORD.itemsize * (1 + _FIELDS * len(source.targets))
        self._block = allocate_shared(self._pixels_at + capacity)
        self._lock = multiprocessing.get_context().Lock()
        self._has_lost_lock = False

    @property
    def origin(self) -> str:
        """The name of the source in messages."""
        return self._source.origin

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the source."""
        return self._source.classes

    @property
    def keys(self) -> Sequence[str]:
        """The names of the images."""
        return self._source.keys

    @property
    def targets(self) -> Sequence[Target]:
        """The targets of the images."""
        return self._source.targets

    @property
    def in_memory(self) -> bool:
        """Whether the source is in memory itself."""
        return self._source.in_memory

    @property
    def num_cached(self) -> int:
        """Number of images in the cache."""
        return int((self._view(_WORD, _FIELDS * len(self.targets), _WORD.itemsize)[3::_FIELDS] > 0).sum())

    @property
    def target_kind(self) -> TargetKind:
        """What the ground truth of an image is."""
        return target_kind_of(self._source)

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes of an image."""
        return cast("BoxSource", self._source).most_boxes

    def read_target(self, index: int) -> Image.Image | Boxes | None:
        """Return the ground truth of an image, which is not cached."""
        return cast("DenseSource | BoxSource", self._source).read_target(index)

    def identity(self, index: int) -> str:
        """Return the identity of an image, see :class:`ImageSource`."""
        return self._source.identity(index)

    def read(self, index: int) -> Image.Image:
        """Return an image from the cache, or decode it and add it to the cache."""
        with self._locked() as is_locked:
            start, width, height, channels = self._row(index).tolist() if is_locked else (0, 0, 0, 0)
        if channels:
            # Pixels never change once their row is written, so they are read without the lock.
            pixels = self._view(np.dtype(np.uint8), width * height * channels, self._pixels_at + start)
            return Image.frombytes("L" if channels == 1 else "RGB", (width, height), pixels.tobytes())
        image = self._source.read(index)
        if image.mode in ("L", "RGB"):
            self._add(index, image)
        return image

    def _add(self, index: int, image: Image.Image) -> None:
        pixels = np.asarray(image).ravel()
        used = self._view(_WORD, 1, 0)
        with self._locked() as is_locked:
            start = int(used[0])
            if not is_locked or start + len(pixels) > self.capacity:
                return
            used[0] = start + len(pixels)
        # The bytes are reserved, so they are copied without the lock.
        self._view(np.dtype(np.uint8), len(pixels), self._pixels_at + start)[:] = pixels
        with self._locked() as is_locked:
            if is_locked:
                self._row(index)[:] = start, image.width, image.height, len(image.getbands())

    def _row(self, index: int) -> NDArray[Any]:
        return self._view(_WORD, _FIELDS, _WORD.itemsize * (1 + _FIELDS * index))

    def _view(self, dtype: np.dtype[Any], count: int, offset: int) -> NDArray[Any]:
        return np.frombuffer(self._block.buffer, dtype=dtype, count=count, offset=offset)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock, and yield whether it was acquired.

        A process that was killed while it held the lock never releases it. After one timeout this process does
        without the cache.
        """
        is_locked = not self._has_lost_lock and self._lock.acquire(timeout=_LOCK_TIMEOUT_S)
        self._has_lost_lock = not is_locked
        try:
            yield is_locked
        finally:
            if is_locked:
                self._lock.release()


def with_cache(source: ImageSource, cache: Cache, part: float = 1.0, report: Report = ignore) -> ImageSource:
    """Add a cache of decoded images to a source, if that is requested, useful and possible.

    ``auto`` uses up to a quarter of the memory that is free now, ``ram`` most of it. A source that is in memory itself
    is returned unchanged.

    Args:
        source: The images.
        cache: The cache that is requested.
        part: Fraction of that memory for this source, if it shares the memory with other sources and processes.
        report: Receives a warning if ``ram`` is requested and impossible.
    """
    share = _SHARES.get(cache)
    if share is None or source.in_memory:
        return source
    free = free_memory()
    reason = "the system does not report its free memory"
    if free is not None:
        try:
            return CachedSource(source, max(int(shareable_memory(int(share * free)) * part), mmap.PAGESIZE))
        except (OSError, OverflowError) as error:  # a system that does not overcommit memory
            reason = f"the system provides no memory for it ({error})"
    if cache is Cache.RAM:
        report(Warn(f"data.cache: ram: images are decoded each time: {reason}. Use data.cache=none to silence this"))
    return source
