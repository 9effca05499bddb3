"""Free memory of the system, and what the C library does with memory that this process frees."""

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
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
"""Environment variables with which a user configures glibc, beside its tunables."""


class _Heap:
    """The settings of glibc's allocator; without effect on other C libraries."""

    def __init__(self) -> None:
        self.keeps = False
        is_glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
        self._library = ctypes.CDLL(None) if is_glibc else None

    def keep(self) -> None:
        """Keep freed memory in the process, regardless of the size of the blocks."""
        has_user_settings = any(name in os.environ for name in _USER_SETTINGS)
        has_user_settings |= "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
        self.keeps = self._library is not None and not has_user_settings
        self._set(_MMAP_MAX, 0)
        self._set(_TRIM_THRESHOLD, -1)

    def release(self) -> None:
        """Return large blocks to the system, with the thresholds that glibc reaches by its dynamic adjustment."""
        self._set(_MMAP_MAX, 1 << 16)
        self._set(_MMAP_THRESHOLD, 32 << 20)
        self._set(_TRIM_THRESHOLD, 64 << 20)
        self.give_back()

    def give_back(self) -> None:
        """Return unused memory to the system now."""
        if self.keeps and self._library is not None:
            self._library.malloc_trim(0)

    def _set(self, parameter: int, value: int) -> None:
        if self.keeps and self._library is not None:
            self._library.mallopt(parameter, value)


_HEAP = _Heap()


def keep_memory() -> None:
    """Let this process reuse the memory that it frees; no-op if the C library is not glibc.

    By default glibc returns blocks of more than 32 MiB to the system and gets them back page by page, filled with
    zeros. On a CPU this can take as long for the feature maps of a batch as the network itself. Only the command line
    calls this function, since a library must not change settings of the process. Environment variables such as
    ``MALLOC_MMAP_MAX_`` take precedence.
    """
    _HEAP.keep()


def release_memory() -> None:
    """Undo :func:`keep_memory`, whose settings a forked process inherits."""
    _HEAP.release()
    _HEAP.keeps = False


@contextlib.contextmanager
def default_memory() -> Iterator[None]:
    """Undo :func:`keep_memory` inside the block, so that measurements are valid for other processes too."""
    kept = _HEAP.keeps
    if kept:
        _HEAP.release()
    try:
        yield
    finally:
        if kept:
            _HEAP.keep()


def free_memory() -> int | None:
    """Return the free memory in bytes, within the limit of a container; None if the system does not report it."""
    if _HEAP.keeps:
        # The system does not count freed memory that the process has kept.
        _HEAP.give_back()
    free = _unused_memory()
    if free is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())  # "max" without a limit
        used = int((_CGROUP / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
        free = min(free, limit - used + (int(cached[1]) if cached else 0))
    return max(free, 0)


def _unused_memory() -> int | None:
    # MemAvailable includes the page cache, which the system can reclaim.
    with contextlib.suppress(OSError):
        if available := re.search(r"^MemAvailable: +(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE):
            return int(available[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
