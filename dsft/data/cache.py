"""A cache of decoded examples in memory that the data loader's workers share."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import Cache, InputKind, TargetKind
from dsft.data.boxes import Boxes
from dsft.data.inputs import INPUTS, Packed
from dsft.data.labels import Target
from dsft.data.shared_memory import allocate_shared, shareable_memory
from dsft.data.sources import BoxSource, DenseSource, Source, input_kind_of, target_kind_of
from dsft.process_memory import free_memory
from dsft.progress import Report, Warn, ignore

_SHARES = {Cache.AUTO: 0.25, Cache.RAM: 0.8}
_LOCK_TIMEOUT_S = 5.0
_FIELDS = 5  # of a row of the table: offset and number of bytes, and the header of the packed example
_WORD = np.dtype(np.int64)


class CachedSource:
    """A source that decodes each example, such as an image, once, until its memory is full.

    The examples are in memory that all worker processes share, so that one decoded by a process is available to the
    others. Examples that do not fit any more are decoded each time. The shared block holds the number of bytes in use,
    a table with one row per example, and their bytes. A row is written and read under a lock, after its bytes were
    written, so that a process which sees the row sees the bytes too, on processors that reorder memory accesses as
    well.

    Args:
        source: The examples.
        capacity: Bytes for them.

    Raises:
        OSError: The system cannot provide the memory.
        OverflowError: The capacity does not fit into an address.
    """

    def __init__(self, source: Source, capacity: int) -> None:
        self._source = source
        self._type = INPUTS[input_kind_of(source)]
        self.capacity = capacity
        self._bytes_at = _WORD.itemsize * (1 + _FIELDS * len(source.targets))
        self._block = allocate_shared(self._bytes_at + capacity)
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
        """Number of examples in the cache."""
        return int((self._view(_WORD, _FIELDS * len(self.targets), _WORD.itemsize)[4::_FIELDS] > 0).sum())

    @property
    def input_kind(self) -> InputKind:
        """What the examples are."""
        return self._type.kind

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
        """Return the identity of an image, see :class:`dsft.data.sources.Source`."""
        return self._source.identity(index)

    def read(self, index: int) -> Any:
        """Return an example from the cache, or decode it and add it to the cache."""
        with self._locked() as is_locked:
            start, count, *header = self._row(index).tolist() if is_locked else (0,) * _FIELDS
        if header[-1]:
            # Bytes never change once their row is written, so they are read without the lock.
            content = self._view(np.dtype(np.uint8), count, self._bytes_at + start)
            return self._type.unpack(Packed(content, (header[0], header[1], header[2])))
        example = self._source.read(index)
        packed = self._type.pack(example)
        if packed is not None:
            self._add(index, packed)
        return example

    def _add(self, index: int, packed: Packed) -> None:
        content = packed.content
        used = self._view(_WORD, 1, 0)
        with self._locked() as is_locked:
            start = int(used[0])
            if not is_locked or start + len(content) > self.capacity:
                return
            used[0] = start + len(content)
        # The bytes are reserved, so they are copied without the lock.
        self._view(np.dtype(np.uint8), len(content), self._bytes_at + start)[:] = content
        with self._locked() as is_locked:
            if is_locked:
                self._row(index)[:] = start, len(content), *packed.header

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


def with_cache(source: Source, cache: Cache, part: float = 1.0, report: Report = ignore) -> Source:
    """Add a cache of decoded examples to a source, if that is requested, useful and possible.

    ``auto`` uses up to a quarter of the memory that is free now, ``ram`` most of it. A source that is in memory itself
    is returned unchanged.

    Args:
        source: The examples.
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
        noun = input_kind_of(source).plural
        report(Warn(f"data.cache: ram: {noun} are decoded each time: {reason}. Use data.cache=none to silence this"))
    return source
