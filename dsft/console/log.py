"""The log file of a run: the same lines as plain progress, with the time of day, and its checkpoints."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dsft.console.wording import sentence
from dsft.errors import DsftError
from dsft.progress import CheckpointSaved, EpochDone, Event, FolderOpened, Note, Report, Warn
from dsft.storage import write_text

LOG_FILE = "train.log"


@contextlib.contextmanager
def write_log() -> Iterator[Report]:
    """Yield a report that writes epochs, notes and warnings to ``train.log`` in the run's folder.

    Lines from before the folder is open are kept and written then; a command without a run writes nothing. A run
    that goes on from a checkpoint has said them before: its log is cut where that was saved, and continued. The
    last line says what ended a run before its time, with the traceback of an error that nobody foresaw.
    """
    lines: list[str] = []
    file: TextIO | None = None

    def report(event: Event) -> None:
        nonlocal file
        if isinstance(event, EpochDone | Note | Warn):
            lines.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {sentence(event)}\n")
        if isinstance(event, CheckpointSaved):
            lines.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {_saved(event.step)}\n")
        if isinstance(event, FolderOpened):
            path = event.folder / LOG_FILE
            if event.resumed_step is not None:
                lines[:] = _until_saved(path, event.resumed_step)
            write_text(path, "".join(lines))
            lines.clear()
            file = path.open("a", encoding="utf-8", newline="\n")
        if file is not None and lines:
            file.writelines(lines)
            file.flush()
            lines.clear()

    try:
        yield report
    except DsftError as error:
        report(Note(f"ended by {type(error).__name__}: {error}"))
        raise
    except Exception:
        report(Note(f"ended by an unforeseen error\n{traceback.format_exc()}"))
        raise
    finally:
        if file is not None:
            file.close()


def _saved(step: int) -> str:
    return f"checkpoint after step {step}"


def _until_saved(log: Path, step: int) -> list[str]:
    """Return the lines of a log up to the checkpoint after a step.

    All of them where none says so: the process ended between the checkpoint and its line.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    saved = [number for number, line in enumerate(lines, 1) if line.rstrip("\n").endswith(f"  {_saved(step)}")]
    # A process that was killed may have written half a line.
    return [line for line in lines[: saved[-1] if saved else None] if line.endswith("\n")]
