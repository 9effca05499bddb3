"""Run a network over a split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import DataError
from dsft.evaluation.batches import BatchSource
from dsft.evaluation.inference import Answers, answer_batches
from dsft.evaluation.result import Evaluation
from dsft.progress import Report, ignore
from dsft.tasks import CLASSIFICATION, Task


def evaluate(
    module: nn.Module,
    loader: BatchSource,
    *,
    classes: Sequence[str],
    split_name: str,
    compute: Compute,
    keys: Sequence[str],
    task: Task = CLASSIFICATION,
    report: Report = ignore,
    name: str | None = None,
    processes: Processes = ALONE,
) -> Evaluation:
    """Score a network on every readable image of a split.

    Several processes come to the same evaluation: each runs its images, and all receive all answers.

    The network runs in evaluation mode and without gradients; afterwards every part of it is in the mode
    that it was in.

    Args:
        module: The network, on the device of ``compute``.
        loader: The split, with the evaluation transform and not shuffled.
        classes: The class table, in the order of the logits.
        split_name: Name of the split, for the metrics and the messages.
        compute: How the network runs.
        keys: Names of the split's images, by position.
        task: What the logits and the labels mean.
        report: Receives the progress, in images.
        name: What the progress is called; left out, ``evaluate`` and the split's name.
        processes: Those that have the split's batches among them.

    Raises:
        ModelError: The output is not one logit for each class.
        TrainingError: A logit is not finite.
        DataError: There is no readable image.
    """
    batches = list(
        answer_batches(
            module,
            loader,
            num_classes=len(classes),
            compute=compute,
            keys=keys,
            what=f"split {split_name}",
            task=name or f"evaluating on {split_name}",
            report=report,
            processes=processes.count,
        )
    )
    own = Answers(*(torch.cat(column) for column in zip(*batches, strict=True))) if batches else (None, None, None)
    logits, targets, positions = (processes.gather_rows(column) for column in own)
    skipped = sum(count for (count,) in processes.gather_numbers([len(loader.skipped)]))
    if logits is None or targets is None or positions is None:
        raise DataError(
            f"split {split_name}: at least one readable image is needed, found none "
            f"({skipped} of {len(keys)} could not be read). Check the image files."
        )
    if processes.count > 1:
        order = positions.argsort()
        logits, targets, positions = logits[order], targets[order], positions[order]
    return Evaluation(logits, targets, positions, classes, split_name, skipped, task)
