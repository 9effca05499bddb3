"""Train a network from its first step, or from a checkpoint, to its last."""

from __future__ import annotations

import contextlib
from pathlib import Path

from torch import nn

from dsft.distributed.processes import Processes
from dsft.errors import TrainingError
from dsft.progress import Finished, Report, Started, ignore
from dsft.training.accumulation import steps_per_epoch
from dsft.training.batches import TrainingLoader
from dsft.training.checkpointing.checkpoint import Checkpoint, load_best
from dsft.training.checkpointing.interruption import stop_request
from dsft.training.determinism import reproducible
from dsft.training.loop import TASK, TrainingLoop, Validate
from dsft.training.optim.weight_averaging import load_mean
from dsft.training.result import FitResult
from dsft.training.setup import TrainingSetup
from dsft.training.train_step import TrainStep


def fit(
    setup: TrainingSetup,
    loader: TrainingLoader,
    *,
    validate: Validate,
    folder: Path,
    resume: Checkpoint | None = None,
    report: Report = ignore,
) -> FitResult:
    """Train a network in place, and load the weights of the best epoch, or the mean of those of the best epochs.

    Random operations of the network depend on ``settings.seed`` and the step only. The process's own random state,
    deterministic mode and signal handlers are restored afterwards. Ctrl-C or SIGTERM completes the step (a validation
    is aborted), saves the checkpoint ``last`` and ends the run; a second one has its usual effect. SIGUSR1 saves a
    checkpoint, and training continues.

    Several processes train the same network together, and end with the same weights. The batches of a step are those
    of a single process, and each process has a part of each. Only process 0 reads and writes the folder. After a
    signal to any process all stop after the same step; a validation is completed first.

    Args:
        setup: The network, its hyperparameters, and where it runs; afterwards the network is on the device, in
            evaluation mode.
        loader: The training split; its length is the number of batches in an epoch.
        validate: Evaluates the network, or its moving average if there is one, after every epoch.
        folder: The run's folder, in which ``metrics.jsonl`` and ``checkpoints/`` are written.
        resume: The checkpoint to continue from, with otherwise the same arguments; on the same machine the result is
            that of an uninterrupted run.
        report: Receives every step and epoch.

    Raises:
        TrainingError: The loss is not finite, there is no batch, or the device or the disk fails.
        InterruptedRun: A signal stopped the run.
        InputError: The settings are not valid for the network or the data.
    """
    if len(loader) == 0:
        raise TrainingError("the train split has no batch: it is empty. Give it at least one example.")
    settings, processes = setup.settings, setup.processes
    with (
        reproducible(settings.seed, setup.compute.device, deterministic=settings.deterministic),
        stop_request(is_repeated=processes.count > 1) as stop,
    ):
        # The freezing phases were reported when the run began.
        phases = report if resume is None else ignore
        step = TrainStep(setup, steps_per_epoch=steps_per_epoch(loader, settings), report=phases)
        with contextlib.closing(step):
            loop = TrainingLoop(step, loader, validate, settings, folder, stop, processes, report)
            if resume is not None:
                loop.restore(resume)
            report(Started(TASK, loop.total, "steps", loop.progress.step, settings.schedule.epochs))
            try:
                if resume is None:
                    loop.save()
                loop.train()
            finally:
                report(Finished(TASK))
        result = loop.result()
        _load_result(folder, setup.module, result, processes)
        return result


def _load_result(folder: Path, module: nn.Module, result: FitResult, processes: Processes) -> None:
    """Load the best weights, or their mean, in all processes."""
    if processes.is_first:
        if len(result.averaged) > 1:
            load_mean(folder, module, result.averaged)
        else:
            load_best(folder, module)
    processes.broadcast_module(module)
