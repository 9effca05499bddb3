"""What differs between two recipes, and what of it a run that goes on may have changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dsft.recipe.sections import Recipe

CHANGEABLE = (
    "train.device",
    "train.compile",
    "train.grad_checkpointing",
    "data.workers",
    "output.dir",
    "output.save_every",
    "log",
)
"""Keys, and beginnings of keys, that change how a run is done and not what comes of it."""

# Their rate at a step does not hang on how many epochs there will be.
_OPEN_ENDED = ("constant", "step", "multistep")


@dataclass(frozen=True)
class Change:
    """A key whose values differ; None stands for a section that is left out as well."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} then, {self.after!r} now"


def list_changes(before: Recipe, after: Recipe) -> list[Change]:
    """List the keys whose values differ, in the order of the recipe."""
    return list(_differences((), before.model_dump(mode="json"), after.model_dump(mode="json")))


def forbidden_changes(before: Recipe, after: Recipe) -> list[Change]:
    """List the changes with which a run could not go on as the same run.

    ``schedule.epochs`` may change where the learning rate of an epoch does not hang on their number.
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
