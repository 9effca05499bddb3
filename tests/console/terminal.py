"""A terminal to try the console in: a Python process whose standard streams are a pseudo terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, without what changes colours, and with some variables set."""
    ours = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **changes}


def run_on_terminal(
    code: str, *, columns: int = 80, stdout: int | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run Python code on a terminal and return all that it wrote there, control codes included.

    Args:
        code: The program.
        columns: Width of the terminal.
        stdout: Where standard output goes instead, as for ``subprocess.Popen``.
        env: Environment variables to set.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=environment(env or {}),
    )
    os.close(theirs)
    written = b""
    while chunk := _read(ours):
        written += chunk
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""
