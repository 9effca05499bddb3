"""The checkpoints of a run: ``best``, whose weights are kept, and ``last``, from which it could go on.

Either folder holds ``model.safetensors`` and ``checkpoint.json``; ``last`` has ``state.pt`` (loadable with
``weights_only=True``) and, where the run has a moving average, ``ema.safetensors`` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from dsft.storage import staged_folder, write_json

WEIGHTS = "model.safetensors"
AVERAGE = "ema.safetensors"
STATE = "state.pt"
DETAILS = "checkpoint.json"


def best_folder(run: Path) -> Path:
    """Return where a run keeps its best weights."""
    return run / "checkpoints" / "best"


def last_folder(run: Path) -> Path:
    """Return where a run keeps its latest state."""
    return run / "checkpoints" / "last"


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
    run: Path,
    module: nn.Module,
    average: nn.Module | None,
    state: Mapping[str, Any],
    details: Mapping[str, Any],
) -> None:
    """Replace the last checkpoint, whole or not at all.

    Args:
        run: The run's folder.
        module: The network that trains.
        average: Its moving average, if the run has one.
        state: Tensors and numbers of the optimizer, the gradient scaler and the random generators.
        details: JSON values: where the run stands, and its history.
    """
    with staged_folder(last_folder(run)) as folder:
        save_model(module, str(folder / WEIGHTS))
        if average is not None:
            save_model(average, str(folder / AVERAGE))
        torch.save(dict(state), folder / STATE)
        write_json(folder / DETAILS, details)


def load_best(run: Path, module: nn.Module) -> None:
    """Give a network the run's best weights, in place."""
    load_model(module, str(best_folder(run) / WEIGHTS))
