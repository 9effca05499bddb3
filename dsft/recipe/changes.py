"""Differences between two recipes, and which of them a resumed run may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dsft.recipe.sections import Recipe

CHANGEABLE = (
    "train.device",
    "train.compile",
    "train.grad_checkpointing",
    "data.bad_images",
    "data.workers",
    "output.dir",
    "output.save_every",
    "log",
)
"""Keys, and prefixes of keys, that affect how a run is executed but not its result; and ``data.bad_images``, so that a
run that a damaged image has stopped can be resumed without it."""

# The learning rate at a step does not depend on the number of epochs.
_OPEN_ENDED = ("constant", "step", "multistep")


@dataclass(frozen=True)
class Change:
    """A key with different values; a missing section has the value None as well."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} before, {self.after!r} now"


def list_changes(before: Recipe, after: Recipe) -> list[Change]:
    """List the keys whose values differ, in the order of the recipe."""
    return list(_differences((), before.model_dump(mode="json"), after.model_dump(mode="json")))


def forbidden_changes(before: Recipe, after: Recipe) -> list[Change]:
    """List the changes that prevent a run from being resumed.

    ``schedule.epochs`` may change if the learning rate at a step does not depend on it.
    """
    is_open_ended = after.schedule.sched in _OPEN_ENDED
    allowed = (*CHANGEABLE, "schedule.epochs") if is_open_ended else CHANGEABLE
    return [
        change
        for change in list_changes(before, after)
        if not any(change.key == key or change.key.startswith(f"{key}.") for key in allowed)
    ]


def _differences(path: tuple[str, ...], before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences((*path, key), before.get(key), after.get(key))
    elif before != after:
        yield Change(".".join(path), before, after)
