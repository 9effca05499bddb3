"""A block of memory that a process shares with the worker processes that it starts."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import weakref
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Protocol

_SHM_FOLDER = Path("/dev/shm")  # noqa: S108 (where Linux keeps named blocks, not a temporary file)


class SharedBlock(Protocol):
    """Zero-initialised memory; pages are committed as they are written, except on Windows."""

    @property
    def buffer(self) -> memoryview:
        """The memory; views of it must not outlive the block."""
        ...


class _InheritedBlock:
    """Anonymous memory, which forked processes inherit."""

    def __init__(self, size: int) -> None:
        self.buffer = memoryview(mmap.mmap(-1, size))


class _NamedBlock:
    """Named memory, which processes of any start method open when they unpickle the block.

    Pickling sends the name only. The process that created the block removes it.
    """

    def __init__(self, size: int) -> None:
        self._memory = SharedMemory(create=True, size=size)
        weakref.finalize(self, _remove, self._memory.unlink, os.getpid())

    @property
    def buffer(self) -> memoryview:
        view = self._memory.buf
        if view is None:
            raise ValueError("the shared block is closed")
        return view


def allocate_shared(size: int) -> SharedBlock:
    """Allocate memory that worker processes share, for any start method of :mod:`multiprocessing`.

    Args:
        size: Bytes.

    Raises:
        OSError: The system cannot provide the memory.
        OverflowError: The size does not fit into an address.
    """
    return _InheritedBlock(size) if _starts_by_fork() else _NamedBlock(size)


def shareable_memory(free: int) -> int:
    """Return how many of ``free`` bytes of memory can be shared safely.

    Named blocks on Linux come from a file system with a limit of its own, such as 64 MiB in a Docker container. Writing
    beyond the limit would kill the process, and the data loader sends its batches through the same file system.
    """
    if _starts_by_fork() or not _SHM_FOLDER.is_dir():
        return free
    limits = os.statvfs(_SHM_FOLDER)
    return min(free, limits.f_bavail * limits.f_frsize // 2)


def _starts_by_fork() -> bool:
    return multiprocessing.get_start_method(allow_none=False) == "fork"


def _remove(unlink: Callable[[], None], owner: int) -> None:
    # A process that was forked from the owner has the finalizer too.
    if os.getpid() == owner:
        unlink()
