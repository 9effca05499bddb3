"""One real step, to find out whether a run could start."""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import nn

from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import TrainingError
from dsft.progress import Report, ignore
from dsft.training.accumulation import steps_per_epoch
from dsft.training.batches import TrainingLoader
from dsft.training.determinism import reproducible
from dsft.training.settings import FitSettings
from dsft.training.train_step import Learner


def try_step(
    module: nn.Module,
    loader: TrainingLoader,
    *,
    settings: FitSettings,
    compute: Compute,
    teacher: nn.Module | None = None,
    head: Collection[str] = (),
    converted: Collection[str] = (),
    processes: Processes = ALONE,
    report: Report = ignore,
) -> float:
    """Train on the first batch, as :func:`dsft.training.fit` would, and return its loss in nats.

    Args:
        module: The network; its weights change.
        loader: The training split.
        settings: How to train.
        compute: Where, and in which number format.
        teacher: The network to learn from.
        head: Names of the parameters of the classifier heads.
        converted: Names of the parameters of converted layers.
        processes: Those that take the step together.
        report: Told which parameters train when.

    Raises:
        TrainingError: There is no batch, the loss is not finite, or the device failed.
    """
    with reproducible(settings.seed, compute.device, deterministic=settings.deterministic):
        learner = Learner(
            module,
            teacher,
            settings,
            compute,
            steps_per_epoch=max(steps_per_epoch(loader, settings), 1),
            head=head,
            converted=converted,
            report=report,
            processes=processes,
        )
        batch = next(loader.epoch(0), None)
        batches = [batch] if batch is not None else []
        images = sum(count for (count,) in processes.gather_numbers([sum(len(batch.images) for batch in batches)]))
        if not images:
            raise TrainingError("the train split gives no batch. Give it at least one readable image.")
        loss = learner.update(0, batches, images)
        learner.finish()
    if not math.isfinite(loss):
        raise TrainingError(f"the loss must be finite, found {loss!r} on the first batch.")
    return loss
