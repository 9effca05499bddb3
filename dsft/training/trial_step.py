"""A single training step, which shows whether a run can start."""

from __future__ import annotations

import contextlib
import math

import torch

from dsft.errors import TrainingError
from dsft.progress import Report, ignore
from dsft.training.accumulation import share_step, steps_per_epoch
from dsft.training.batches import TrainingLoader
from dsft.training.determinism import reproducible
from dsft.training.setup import TrainingSetup
from dsft.training.train_step import TrainStep


def try_step(setup: TrainingSetup, loader: TrainingLoader, *, report: Report = ignore) -> float:
    """Train on the first batch, as :func:`dsft.training.fit` would, and return its loss in nats.

    Args:
        setup: The network, whose weights change, its hyperparameters, and where it runs.
        loader: The training split.
        report: Receives the freezing phases.

    Raises:
        TrainingError: There is no batch, the loss is not finite, or the device fails.
    """
    settings, processes = setup.settings, setup.processes
    with reproducible(settings.seed, setup.compute.device, deterministic=settings.deterministic):
        steps = max(steps_per_epoch(loader, settings), 1)
        with contextlib.closing(TrainStep(setup, steps_per_epoch=steps, report=report)) as step:
            batch = next(loader.epoch(0), None)
            batches = [batch] if batch is not None else []
            shared = share_step(loader, range(min(len(loader), 1)), batches, processes)
            if not shared.images:
                raise TrainingError("the train split gives no batch. Give it at least one readable example.")
            loss = step.run(0, shared.parts, shared.images).to("cpu", torch.float64)
    processes.all_reduce([loss])
    if not math.isfinite(loss.item()):
        raise TrainingError(f"the loss must be finite, found {loss.item()!r} on the first batch.")
    return loss.item()
