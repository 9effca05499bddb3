"""The log file of a run: the same lines as plain progress, with the time of day."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from typing import TextIO

from dsft.console.wording import sentence
from dsft.errors import DsftError
from dsft.progress import EpochDone, Event, FolderOpened, Note, Report, Warn

LOG_FILE = "train.log"


@contextlib.contextmanager
def write_log() -> Iterator[Report]:
    """Yield a report that writes epochs, notes and warnings to ``train.log`` in the run's folder.

    Lines from before the folder is open are kept and written then; a command without a run writes nothing. The
    last line says what ended a run before its time, with the traceback of an error that nobody foresaw.
    """
    lines: list[str] = []
    file: TextIO | None = None

    def report(event: Event) -> None:
        nonlocal file
        if isinstance(event, EpochDone | Note | Warn):
            lines.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {sentence(event)}\n")
        if isinstance(event, FolderOpened):
            file = (event.folder / LOG_FILE).open("w", encoding="utf-8", newline="\n")
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
