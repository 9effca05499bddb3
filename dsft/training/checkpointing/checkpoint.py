"""The checkpoints of a run: ``best``, whose weights the run ends with, and ``last``, from which it is resumed.

Both folders contain ``model.safetensors`` and ``checkpoint.json``. ``last`` is self-contained: it also has ``state.pt``
(loadable with ``weights_only=True``), the moving average ``ema.safetensors``, and the best weights up to that step, so
that a resumed run does not see those of a later one. ``previous`` is the ``last`` before, in case of a disk failure.
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
from dsft.training.checkpointing.history import RunProgress
from dsft.training.optim.weight_averaging import copy_epochs, restore_epochs

WEIGHTS = "model.safetensors"
AVERAGE = "ema.safetensors"
BEST_WEIGHTS = "best.safetensors"
STATE = "state.pt"
DETAILS = "checkpoint.json"


def best_folder(run: Path) -> Path:
    """Return the folder of a run's best weights."""
    return run / "checkpoints" / "best"


def last_folder(run: Path) -> Path:
    """Return the folder of a run's latest state."""
    return run / "checkpoints" / "last"


def previous_folder(run: Path) -> Path:
    """Return the folder of the state before the latest."""
    return run / "checkpoints" / "previous"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose checksums are correct.

    Attributes:
        folder: Its folder.
        progress: How far the run had come.
        best: Contents of ``checkpoint.json`` of the best weights; None before the end of the first epoch.
        damage: What is wrong with a later checkpoint, which this one replaces; None if this is the latest.
    """

    folder: Path
    progress: RunProgress
    best: Mapping[str, Any] | None
    damage: str | None = None


def save_best(run: Path, evaluated: nn.Module, details: Mapping[str, Any]) -> None:
    """Replace the best checkpoint atomically.

    Args:
        run: The run's folder.
        evaluated: The network that was validated.
        details: JSON values that describe the weights.
    """
    with staged_folder(best_folder(run)) as folder:
        save_model(evaluated, str(folder / WEIGHTS))
        write_json(folder / DETAILS, details)


def save_last(
    run: Path, module: nn.Module, average: nn.Module | None, state: Mapping[str, Any], progress: RunProgress
) -> None:
    """Replace the last checkpoint atomically; the one before becomes ``previous``.

    Args:
        run: The run's folder.
        module: The network that is trained.
        average: Its moving average, if there is one.
        state: Tensors and numbers of the optimizer and the gradient scaler.
        progress: How far the run has come.
    """
    best = _read_details(best_folder(run)) if progress.history else None
    with staged_folder(last_folder(run), previous_folder(run)) as folder:
        save_model(module, str(folder / WEIGHTS))
        if average is not None:
            save_model(average, str(folder / AVERAGE))
        if best is not None:
            # A copy, not a hard link: damage to one file must not affect the other.
            shutil.copyfile(best_folder(run) / WEIGHTS, folder / BEST_WEIGHTS)
        copy_epochs(run, folder)
        torch.save(dict(state), folder / STATE)
        write_json(folder / DETAILS, {**progress.to_dict(), "best": best})
        write_checksums(folder)


def find_checkpoint(run: Path) -> Checkpoint:
    """Find the latest checkpoint of a run whose checksums are correct.

    Raises:
        CheckpointError: There is none, or all are damaged.
    """
    damages: list[str] = []
    for folder in (last_folder(run), previous_folder(run)):
        if not folder.is_dir():
            continue
        damage = find_damage(folder)
        if damage is None:
            details = _read_details(folder)
            return Checkpoint(folder, RunProgress.from_dict(details), details["best"], next(iter(damages), None))
        damages.append(f"{str(folder)!r}: {damage}")
    if damages:
        raise CheckpointError(
            f"every checkpoint of {str(run)!r} is damaged: {'; '.join(damages)}. Start again: --overwrite."
        )
    raise CheckpointError(
        f"no checkpoint in {str(run / 'checkpoints')!r}: the run ended before training started. Start again: "
        "--overwrite."
    )


def load_checkpoint(run: Path, checkpoint: Checkpoint, module: nn.Module, average: nn.Module | None) -> dict[str, Any]:
    """Load the weights of a checkpoint into a network and its average, and restore the best weights of that time.

    Returns:
        The state of the optimizer and the gradient scaler.
    """
    folder = last_folder(run)
    if checkpoint.folder != folder:
        # The next save moves ``last`` to ``previous``, and must not move a damaged one there.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(checkpoint.folder, folder)
    load_model(module, str(folder / WEIGHTS))
    if average is not None:
        load_model(average, str(folder / AVERAGE))
    if checkpoint.best is not None:
        with staged_folder(best_folder(run)) as best:
            shutil.copyfile(folder / BEST_WEIGHTS, best / WEIGHTS)
            write_json(best / DETAILS, checkpoint.best)
    restore_epochs(run, folder)
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


def load_best(run: Path, module: nn.Module) -> None:
    """Load the best weights of a run into a network."""
    load_model(module, str(best_folder(run) / WEIGHTS))


def _read_details(folder: Path) -> dict[str, Any]:
    details: dict[str, Any] = json.loads((folder / DETAILS).read_text(encoding="utf-8"))
    return details
