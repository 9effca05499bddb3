"""Training a network from its first step to its last, or from where an earlier process stopped."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import nn

from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import TrainingError
from dsft.progress import Finished, Report, Started, ignore
from dsft.training.accumulation import steps_per_epoch
from dsft.training.batches import TrainingLoader
from dsft.training.checkpointing.checkpoint import Checkpoint, load_best
from dsft.training.checkpointing.interruption import stop_request
from dsft.training.determinism import reproducible
from dsft.training.loop import TASK, FitResult, Loop, Validate
from dsft.training.optim.weight_averaging import load_mean
from dsft.training.settings import FitSettings
from dsft.training.train_step import Learner


def fit(
    module: nn.Module,
    loader: TrainingLoader,
    *,
    validate: Validate,
    settings: FitSettings,
    compute: Compute,
    folder: Path,
    resume: Checkpoint | None = None,
    teacher: nn.Module | None = None,
    head: Collection[str] = (),
    converted: Collection[str] = (),
    processes: Processes = ALONE,
    report: Report = ignore,
) -> FitResult:
    """Train a network in place and give it the weights that validated best, or the mean of the best ones.

    Everything random in the network is a function of ``settings.seed`` and the step, and the process keeps its own
    random state, deterministic mode and signal handlers. Ctrl-C or SIGTERM finishes the step (a validation is broken
    off), saves the checkpoint ``last`` and ends the run; a second one acts at once. SIGUSR1 saves and goes on.

    Several processes train the same network together, and end with the same weights. The batches of a step are those
    that one process would have, each process has its part of them. Process 0 alone reads and writes the folder. A
    signal to any of them stops all after the same step; a validation is then not broken off.

    Args:
        module: The network; afterwards on the device of ``compute``, in evaluation mode.
        loader: The training split; its length is the steps of an epoch.
        validate: Scores the network, or its moving average where there is one, after every epoch.
        settings: How to train.
        compute: Where, and in which number format.
        folder: The run's folder: ``metrics.jsonl`` and ``checkpoints/`` are written there.
        resume: The state from which the run goes on, with the same arguments otherwise; on the same machine it ends
            as if it had never stopped.
        teacher: The network to learn from, where ``settings.distill`` is set; moved to the device, in
            evaluation mode.
        head: Names of the parameters of the classifier heads, which ``head`` in a phase stands for.
        converted: Names of the parameters of converted layers, which ``converted`` in a phase stands for.
        processes: Those that train together; they start with the same weights.
        report: Told of every step and epoch.

    Raises:
        TrainingError: The loss is not finite, there was no batch, or the device or the disk failed.
        InterruptedRun: A signal stopped the run.
        InputError: The settings do not go with the network or the data.
    """
    if len(loader) == 0:
        raise TrainingError("the train split has no batch: it is empty. Give it at least one image.")
    with (
        reproducible(settings.seed, compute.device, deterministic=settings.deterministic),
        stop_request(is_repeated=processes.count > 1) as stop,
    ):
        learner = Learner(
            module,
            teacher,
            settings,
            compute,
            steps_per_epoch=steps_per_epoch(loader, settings),
            head=head,
            converted=converted,
            # A run that goes on has told it before.
            report=report if resume is None else ignore,
            processes=processes,
        )
        loop = Loop(learner, loader, validate, settings, folder, stop, processes, report)
        if resume is not None:
            loop.go_back_to(resume)
        report(Started(TASK, loop.total, "steps", loop.standing.step, settings.schedule.epochs))
        try:
            if resume is None:
                loop.save()
            loop.train()
        finally:
            learner.finish()
            report(Finished(TASK))
        result = loop.result()
        if processes.is_first:
            if len(result.averaged) > 1:
                load_mean(folder, module, result.averaged)
            else:
                load_best(folder, module)
        processes.broadcast_module(module)
        return result
