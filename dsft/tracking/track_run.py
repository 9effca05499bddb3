"""Forward the figures of a run to its trackers."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dsft.choices import TrackerName
from dsft.progress import EpochDone, Event, FolderOpened, Report, Scored, Warn
from dsft.storage import write_json
from dsft.tracking.registry import TRACKERS, open_tracker, require_tracker
from dsft.tracking.tracker import TrackedRun, Tracker

_IDENTITY_FILE = "tracking.json"
_POSITION = ("epoch", "step")  # the x axes of the figures


@contextlib.contextmanager
def track_run(names: Sequence[TrackerName], name: str, config: Mapping[str, Any], report: Report) -> Iterator[Report]:
    """Yield a report that forwards epochs and scores to trackers once the run's folder is open.

    A tracker that fails, for example for lack of a network, is dropped with a warning; the run continues.

    Args:
        names: The trackers; ``jsonl`` is ignored, since the run writes it itself.
        name: The run's name.
        config: The recipe as JSON values.
        report: Receives a warning about a tracker that failed.

    Raises:
        RecipeError: A package is not installed.
    """
    wanted = [tracker for tracker in dict.fromkeys(names) if tracker in TRACKERS]
    for tracker in wanted:
        require_tracker(tracker)
    trackers = _Trackers(wanted, name, config, report)
    try:
        yield trackers.add
    except BaseException:
        trackers.close(succeeded=False)
        raise
    trackers.close(succeeded=True)


class _Trackers:
    """The open trackers of a run."""

    def __init__(self, wanted: Sequence[TrackerName], name: str, config: Mapping[str, Any], report: Report) -> None:
        self._wanted, self._name, self._config, self._report = wanted, name, config, report
        self._open: dict[TrackerName, Tracker] = {}
        self._step = 0

    def add(self, event: Event) -> None:
        """Open the trackers when the run's folder opens, and log figures."""
        if isinstance(event, FolderOpened) and self._wanted:
            self._start(event.folder, event.resumed_step)
        elif isinstance(event, EpochDone):
            self._step = int(event.values["step"])
            values = {name: value for name, value in event.values.items() if name not in _POSITION}
            self._each(lambda tracker: tracker.log({**values, "epoch": event.epoch}, self._step))
        elif isinstance(event, Scored):
            values = {f"scores/{event.slot}/{name}": value for name, value in event.values.items()}
            self._each(lambda tracker: tracker.log(values, self._step))

    def close(self, *, succeeded: bool) -> None:
        """End the run in every tracker."""
        self._each(lambda tracker: tracker.close(succeeded=succeeded))
        self._open.clear()

    def _start(self, folder: Path, resumed_step: int | None) -> None:
        identity = _identity(folder, is_resumed=resumed_step is not None)
        run = TrackedRun(folder, self._name, self._config, resumed_step, identity)
        self._step = resumed_step or 0
        for name in self._wanted:
            with self._dropped_on_error(name):
                self._open[name] = open_tracker(name, run)

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            with self._dropped_on_error(name):
                act(tracker)

    @contextlib.contextmanager
    def _dropped_on_error(self, name: TrackerName) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever its network, disk or login raises
            self._open.pop(name, None)
            self._report(
                Warn(f"log.to: {name} failed and is not used any more in this run ({type(error).__name__}: {error})")
            )


def _identity(folder: Path, *, is_resumed: bool) -> str:
    """Return the identity of a run, which a resumed run reads from its folder."""
    file = folder / _IDENTITY_FILE
    if is_resumed:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(file.read_text(encoding="utf-8"))["id"])
    identity = uuid.uuid4().hex[:16]
    write_json(file, {"id": identity})
    return identity
