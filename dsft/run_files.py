"""Files of a run folder that are read by more than the run itself."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

RECIPE_FILE, RUN_FILE, SPLITS_FILE = "recipe.yaml", "run.json", "splits.json"
"""The resolved recipe, the record of a run (versions, seeds, device, fingerprints of the data), and its splits."""

_VERBS = ("train", "finetune")


def is_run_folder(folder: Path) -> bool:
    """Return whether a folder holds a run, finished or not."""
    return all((folder / name).is_file() for name in (RECIPE_FILE, RUN_FILE))


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a run."""
    record: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    return record


class ListedSplit(NamedTuple):
    """The fingerprint of a split, and the keys of its images."""

    fingerprint: str
    keys: frozenset[str]


def read_splits(folder: Path) -> dict[str, ListedSplit]:
    """Return the splits of a run by name; none if the folder has no list of them, or a damaged one."""
    try:
        splits = json.loads((folder / SPLITS_FILE).read_text(encoding="utf-8"))["splits"]
        return {name: ListedSplit(split["fingerprint"], frozenset(split["keys"])) for name, split in splits.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds a run that has not reached its end."""
    return is_run_folder(folder) and not read_record(folder).get("finished", True)


def resume_command(folder: Path) -> str:
    """Return the command that continues the run in a folder, as a shell takes it."""
    record = read_record(folder)
    # Records of the first edition name the verb only in the command line.
    found = next((word for word in record.get("command", ()) if word in _VERBS), "finetune")
    return shlex.join(["dsft", record.get("verb", found), folder.as_posix(), "--resume"])
