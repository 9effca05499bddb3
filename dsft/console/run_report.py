"""Where the events of a run go: the display, the log in its folder, and the trackers that its recipe names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dsft.choices import TrackerName
from dsft.console.log import write_log
from dsft.progress import Event, Report

if TYPE_CHECKING:
    from dsft.recipe import Recipe


@contextlib.contextmanager
def run_report(show: Report, recipe: Recipe | None) -> Iterator[Report]:
    """Yield a report that displays events, writes them to the run's log and sends them to its trackers.

    Args:
        show: Displays an event.
        recipe: The recipe of the run; None for a command without one.

    Raises:
        RecipeError: The package of a tracker is not installed.
    """
    with write_log() as log:

        def report(event: Event) -> None:
            show(event)
            log(event)

        if recipe is None or set(recipe.log.to) <= {TrackerName.JSONL}:
            yield report
            return
        from dsft.tracking import track_run

        with track_run(recipe.log.to, recipe.name, recipe.model_dump(mode="json"), report) as track:

            def report_everywhere(event: Event) -> None:
                report(event)
                track(event)

            yield report_everywhere
