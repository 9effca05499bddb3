"""``run.json``: under which circumstances a run was made, and whether a resumed run still has them."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsft.artifact.manifest import installed_versions
from dsft.assembly import Experiment, Verb
from dsft.data import Splits
from dsft.errors import CheckpointError, DataError


def describe_run(experiment: Experiment, verb: Verb) -> dict[str, Any]:
    """Return the content of ``run.json`` at the start of a run, as JSON values."""
    recipe, training = experiment.recipe, experiment.training
    return {
        "name": recipe.name,
        "verb": verb.value,
        "finished": False,
        "versions": _versions(),
        "platform": platform.platform(),
        "device": str(training.compute.device),
        "threads": torch.get_num_threads(),
        "processes": training.processes.count,
        "seeds": {"train": recipe.train.seed, "split": recipe.data.seed},
        "command": sys.argv,
        "data": _fingerprints(experiment.data.splits),
        "teacher": _digest(training.teacher),
    }


def require_same_start(folder: Path, record: Mapping[str, Any], experiment: Experiment) -> None:
    """Check that a resumed run has the images and the teacher that it began with.

    Args:
        folder: The run's folder, for messages.
        record: Its ``run.json``.
        experiment: The run as it would continue.

    Raises:
        DataError: A split has other images.
        CheckpointError: The teacher has other weights.
    """
    for name, found in _fingerprints(experiment.data.splits).items():
        before = record["data"].get(name)
        if before != found:
            kind = experiment.data.splits.train.input_kind.plural
            count = "none" if before is None else f"{before['images']:,}"
            raise DataError(
                f"--resume: the {name} split has changed since the run in {str(folder)!r} began: {count} {kind} "
                f"before, {found['images']:,} now, or other content. Restore the data, or start again with --overwrite."
            )
    if record["teacher"] != _digest(experiment.training.teacher):
        raise CheckpointError(
            f"--resume: the teacher has other weights than when the run in {str(folder)!r} began. Restore its model "
            "folder, or start again with --overwrite."
        )


def changed_versions(record: Mapping[str, Any]) -> list[str]:
    """List the packages whose version differs from that at the start of a run."""
    before, now = record["versions"], _versions()
    return [f"{name} {before.get(name)} before, {now[name]} now" for name in now if before.get(name) != now[name]]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **installed_versions()}


def _fingerprints(splits: Splits) -> dict[str, Any]:
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    return {split.name.value: {"images": len(split), "fingerprint": split.fingerprint} for split in parts}


def _digest(module: nn.Module | None) -> str | None:
    """Return the SHA-256 of a network's weights."""
    if module is None:
        return None
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
