"""The checkpoints of a run: ``best``, whose weights are kept, and ``last``, from which it goes on.

Either folder holds ``model.safetensors`` and ``checkpoint.json``. ``last`` is complete in itself: with ``state.pt``
(loadable with ``weights_only=True``), the moving average ``ema.safetensors``, and the weights of the best epochs so
far, so that a run that goes back to it finds the best of that time. ``previous`` is the ``last`` before, for when
the disk fails.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from dsft.errors import CheckpointError
from dsft.storage import find_damage, staged_folder, write_checksums, write_json
from dsft.training.checkpointing.history import Standing
from dsft.training.optim.weight_averaging import copy_kept, restore_kept

WEIGHTS = "model.safetensors"
AVERAGE = "ema.safetensors"
BEST_WEIGHTS = "best.safetensors"
STATE = "state.pt"
DETAILS = "checkpoint.json"


def best_folder(run: Path) -> Path:
    """Return where a run keeps its best weights."""
    return run / "checkpoints" / "best"


def last_folder(run: Path) -> Path:
    """Return where a run keeps its latest state."""
    return run / "checkpoints" / "last"


def previous_folder(run: Path) -> Path:
    """Return where a run keeps the state before the latest."""
    return run / "checkpoints" / "previous"


@dataclass(frozen=True)
class Checkpoint:
    """A state on disk, found whole.

    Attributes:
        folder: Where it is.
        standing: How far the run had come.
        best: What ``checkpoint.json`` of the best weights says; None before the first epoch's end.
        damage: What is wrong with a later checkpoint, in whose place this one is; None where it is the latest.
    """

    folder: Path
    standing: Standing
    best: Mapping[str, Any] | None
    damage: str | None = None


def save_best(run: Path, scored: nn.Module, details: Mapping[str, Any]) -> None:
    """Replace the best checkpoint, whole or not at all.

    Args:
        run: The run's folder.
        scored: The network whose weights were validated.
        details: JSON values that say which weights they are.
    """
    with staged_folder(best_folder(run)) as folder:
        save_model(scored, str(folder / WEIGHTS))
        write_json(folder / DETAILS, details)


def save_last(
    run: Path, module: nn.Module, average: nn.Module | None, state: Mapping[str, Any], standing: Standing
) -> None:
    """Replace the last checkpoint, whole or not at all; the one before is kept as ``previous``.

    Args:
        run: The run's folder.
        module: The network that trains.
        average: Its moving average, if the run has one.
        state: Tensors and numbers of the optimizer and the gradient scaler.
        standing: How far the run has come.
    """
    best = _read_details(best_folder(run)) if standing.history else None
    with staged_folder(last_folder(run), previous_folder(run)) as folder:
        save_model(module, str(folder / WEIGHTS))
        if average is not None:
            save_model(average, str(folder / AVERAGE))
        if best is not None:
            # No hard link: what spoils one file shall not spoil the other.
            shutil.copyfile(best_folder(run) / WEIGHTS, folder / BEST_WEIGHTS)
        copy_kept(run, folder)
        torch.save(dict(state), folder / STATE)
        write_json(folder / DETAILS, {**standing.to_dict(), "best": best})
        write_checksums(folder)


def find_checkpoint(run: Path) -> Checkpoint:
    """Find the latest state of a run that is whole.

    Raises:
        CheckpointError: There is none, or none that is whole.
    """
    damages: list[str] = []
    for folder in (last_folder(run), previous_folder(run)):
        if not folder.is_dir():
            continue
        damage = find_damage(folder)
        if damage is None:
            details = _read_details(folder)
            return Checkpoint(folder, Standing.from_dict(details), details["best"], next(iter(damages), None))
        damages.append(f"{str(folder)!r}: {damage}")
    if damages:
        raise CheckpointError(
            f"no checkpoint of {str(run)!r} is whole: {'; '.join(damages)}. Start again: --overwrite."
        )
    raise CheckpointError(
        f"no checkpoint in {str(run / 'checkpoints')!r}: the run ended before its training began. Start again: "
        "--overwrite."
    )


def load_checkpoint(run: Path, checkpoint: Checkpoint, module: nn.Module, average: nn.Module | None) -> dict[str, Any]:
    """Give a network and its average the weights of a checkpoint, in place, and put its best weights back.

    Returns:
        The tensors and numbers of the optimizer and the gradient scaler.
    """
    folder = last_folder(run)
    if checkpoint.folder != folder:
        # The next save moves what is in the place of the last to the place of this one.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(checkpoint.folder, folder)
    load_model(module, str(folder / WEIGHTS))
    if average is not None:
        load_model(average, str(folder / AVERAGE))
    if checkpoint.best is not None:
        with staged_folder(best_folder(run)) as best:
            shutil.copyfile(folder / BEST_WEIGHTS, best / WEIGHTS)
            write_json(best / DETAILS, checkpoint.best)
    restore_kept(run, folder)
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


def load_best(run: Path, module: nn.Module) -> None:
    """Give a network the run's best weights, in place."""
    load_model(module, str(best_folder(run) / WEIGHTS))


def _read_details(folder: Path) -> dict[str, Any]:
    details: dict[str, Any] = json.loads((folder / DETAILS).read_text(encoding="utf-8"))
    return details
