"""The memory of this process: how much it may take, and what becomes of what it no longer uses."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUP, _MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of glibc's ``mallopt``, by their numbers in ``malloc.h``."""
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
"""Environment variables in which a user says what glibc shall do, beside its tunables."""


class _Heap:
    """What glibc, where it is the C library, does with memory that is freed."""

    def __init__(self) -> None:
        self.keeps = False
        is_glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
        self._library = ctypes.CDLL(None) if is_glibc else None

    def keep(self) -> None:
        """Keep it for what comes next, however large the pieces are."""
        has_users_own = any(name in os.environ for name in _USERS_OWN)
        has_users_own |= "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
        self.keeps = self._library is not None and not has_users_own
        self._set(_MMAP_MAX, 0)
        self._set(_TRIM_THRESHOLD, -1)

    def release(self) -> None:
        """Return large pieces to the system as glibc does by itself, once it has seen some: its limits move to here."""
        self._set(_MMAP_MAX, 1 << 16)
        self._set(_MMAP_THRESHOLD, 32 << 20)
        self._set(_TRIM_THRESHOLD, 64 << 20)
        self.give_back()

    def give_back(self) -> None:
        """Return to the system, now, what is not in use."""
        if self.keeps and self._library is not None:
            self._library.malloc_trim(0)

    def _set(self, parameter: int, value: int) -> None:
        if self.keeps and self._library is not None:
            self._library.mallopt(parameter, value)


_HEAP = _Heap()


def keep_memory() -> None:
    """Let this process keep the memory that it frees, for what it needs next; where that is not in its power, nothing.

    By default glibc returns every piece of more than 32 MiB to the system, and gets it back page by page, each filled
    with zeros: on a CPU the maps of a batch may take as long that way as the network. For a process of dsft's own;
    a library has no business there. ``MALLOC_MMAP_MAX_`` and the like in the environment come first.
    """
    _HEAP.keep()


def release_memory() -> None:
    """Undo :func:`keep_memory`, which a forked process inherits."""
    _HEAP.release()
    _HEAP.keeps = False


@contextlib.contextmanager
def memory_as_elsewhere() -> Iterator[None]:
    """Undo :func:`keep_memory` inside the block: what is measured there is to hold in other processes too."""
    kept = _HEAP.keeps
    if kept:
        _HEAP.release()
    try:
        yield
    finally:
        if kept:
            _HEAP.keep()


def free_memory() -> int | None:
    """Return the bytes that this process may still take, a container's limit included; None where nobody tells."""
    if _HEAP.keeps:
        # What lies unused in this process is free, and the system does not know.
        _HEAP.give_back()
    free = _unused_memory()
    if free is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((_CGROUP / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
        free = min(free, limit - used + (int(cached[1]) if cached else 0))
    return max(free, 0)


def _unused_memory() -> int | None:
    # Files that the system keeps in memory, and would give up, count as free.
    with contextlib.suppress(OSError):
        if available := re.search(r"^MemAvailable: +(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE):
            return int(available[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
