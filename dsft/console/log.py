"""The log file of a run: the lines of plain progress with the time of day, and its checkpoints."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dsft.console.epochs import EpochTable
from dsft.console.transcript import Transcript
from dsft.errors import DsftError
from dsft.progress import CheckpointSaved, Event, FolderOpened, Note, Report
from dsft.storage import write_text

LOG_FILE = "train.log"


@contextlib.contextmanager
def write_log() -> Iterator[Report]:
    """Yield a report that writes messages, completed tasks and epochs to ``train.log`` in the run's folder.

    Lines from before the folder is opened are kept and written then; a command without a run writes nothing. When a
    run resumes from a checkpoint, its log is truncated where that was saved and continued; what precedes the training
    is in the log already. If an error ends the run, the last line says which, with the traceback of an unexpected one.
    """
    log = _Log()
    try:
        yield log.add
    except DsftError as error:
        log.add(Note(f"ended by {type(error).__name__}: {error}"))
        raise
    except Exception:
        log.add(Note(f"ended by an unexpected error\n{traceback.format_exc()}"))
        raise
    finally:
        log.close()


class _Log:
    def __init__(self) -> None:
        self._table = EpochTable()
        self._transcript = Transcript(self._table)
        self._lines: list[str] = []  # not yet written
        self._file: TextIO | None = None

    def add(self, event: Event) -> None:
        """Write the lines that remain of an event, once the run's folder is open."""
        texts = [line.text for line in self._transcript.add(event)]
        if isinstance(event, CheckpointSaved):
            texts.append(_saved(event.step))
        self._lines += [f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n" for text in texts]
        if isinstance(event, FolderOpened):
            self._open(event.folder / LOG_FILE, event.resumed_step)
        if self._file is not None and self._lines:
            self._file.writelines(self._lines)
            self._file.flush()
            self._lines.clear()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path, resumed_step: int | None) -> None:
        if resumed_step is not None:
            self._lines = _until_saved(path, resumed_step)
            self._table.continue_below([line.split("  ", 1)[-1] for line in self._lines])
        write_text(path, "".join(self._lines))
        self._lines.clear()
        self._file = path.open("a", encoding="utf-8", newline="\n")


def _saved(step: int) -> str:
    return f"checkpoint after step {step}"


def _until_saved(log: Path, step: int) -> list[str]:
    """Return the lines of a log up to the checkpoint after a step.

    If no line names that checkpoint, because the process ended between the two, all lines are returned.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    saved = [number for number, line in enumerate(lines, 1) if line.rstrip("\n").endswith(f"  {_saved(step)}")]
    # A process that was killed may have written an incomplete line.
    return [line for line in lines[: saved[-1] if saved else None] if line.endswith("\n")]
