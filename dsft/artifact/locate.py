"""Finds model folders: the folder itself, the one inside a run folder, or one on the hub."""

from __future__ import annotations

from pathlib import Path

from dsft.artifact.hub import HubReference, fetch_model_folder
from dsft.artifact.manifest import MANIFEST_FILE
from dsft.errors import CheckpointError
from dsft.recipe import shipped_recipes
from dsft.run_files import is_unfinished, resume_command
from dsft.storage import at_home


def find_model_folder(folder: Path) -> Path:
    """Find a model folder: ``folder`` itself, the one inside a run folder, or one on the hub.

    Args:
        folder: A folder, or ``hf/OWNER/NAME`` where there is no folder of that name.

    Raises:
        CheckpointError: There is no such folder.
        ModelError: It cannot be fetched from the Hugging Face hub.
    """
    folder = at_home(folder)
    if not folder.exists():
        if (reference := HubReference.parse(str(folder))) is not None:
            return fetch_model_folder(reference)
        raise CheckpointError(f"model folder {str(folder)!r}: there is no such folder.{how_to_make(folder)}")
    inner = folder / "model"
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if not (inner / MANIFEST_FILE).is_file() and is_unfinished(folder):
        raise CheckpointError(
            f"model folder {str(folder)!r}: the run in it was interrupted before it saved its model. Continue it with "
            f"{resume_command(folder)!r}."
        )
    return inner if (inner / MANIFEST_FILE).is_file() else folder


def how_to_make(folder: Path) -> str:
    """Return which command writes a missing folder, if a shipped recipe does: a sentence after a space."""
    for recipe in shipped_recipes():
        if recipe.name in folder.parts:
            return f" First run: dsft {recipe.verb} {recipe.name}"
    return " Give a folder that dsft wrote, such as runs/NAME/model."
