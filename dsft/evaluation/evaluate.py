"""Evaluate a network on a split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import DataError
from dsft.evaluation.batches import BatchSource, EvaluatedSplit, kind_of
from dsft.evaluation.inference import infer_batches
from dsft.evaluation.result import Evaluation
from dsft.evaluation.worst_images import WorstImages
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task
from dsft.tasks import CLASSIFICATION, Task


def evaluate(
    module: nn.Module,
    loader: BatchSource,
    split: EvaluatedSplit,
    *,
    compute: Compute,
    task: Task = CLASSIFICATION,
    report: Report = ignore,
    name: str | None = None,
    processes: Processes = ALONE,
) -> Evaluation:
    """Evaluate a network on all readable images of a split.

    The network runs in evaluation mode and without gradients; afterwards the training mode of all modules is restored.
    With several processes each one runs its part of the images, and all return the same evaluation.

    Args:
        module: The network, on the device of ``compute``.
        loader: The batches of the split, with the evaluation transform and not shuffled.
        split: Name, image keys and class table of the split.
        compute: How the network runs.
        task: The task of the network.
        report: Receives the progress, in images.
        name: Name of the progress task; by default ``evaluating on`` and the split's name.
        processes: The processes that share the split.

    Raises:
        ModelError: The output does not have the shape that the task and the classes need.
        TrainingError: An output is not finite.
        DataError: There is no readable image.
    """
    images, worst, kind = len(split.keys), WorstImages(task, split.classes), kind_of(split)
    batches: list[tuple[Tensor, ...]] = []
    with report_task(report, name or f"evaluating on {split.name}", images, kind.plural) as advance:
        for outputs, batch in infer_batches(
            module,
            loader,
            num_classes=len(split.classes),
            compute=compute,
            keys=split.keys,
            what=f"split {split.name}",
            # The other processes are assumed to be as far as this one.
            advance=lambda done: advance(min(done * processes.count, images)),
            task=task,
        ):
            rows = task.scorer.reduce(outputs, batch.targets.to(outputs.device))
            worst.add(rows, outputs, batch)
            batches.append((*rows, batch.positions))
    own = [torch.cat(column) for column in zip(*batches, strict=True)] if batches else [None, None, None]
    kept, targets, positions = (processes.gather_rows(column) for column in own)
    skipped = sum(count for (count,) in processes.gather_numbers([len(loader.skipped)]))
    if kept is None or targets is None or positions is None:
        raise DataError(
            f"split {split.name}: there must be at least one readable {kind}, found none ({skipped:,} of "
            f"{plural(images, kind)} cannot be read). Check the {kind} files."
        )
    if processes.count > 1:
        order = positions.argsort()
        kept, targets, positions = kept[order], targets[order], positions[order]
    seen = worst.merged(processes)
    return Evaluation(kept, targets, positions, split.classes, split.name, skipped, task, worst=seen)
