"""Run a network over a split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.errors import DataError, ModelError, TrainingError
from dsft.evaluation.batches import BatchSource, LabelledBatch
from dsft.evaluation.values import Evaluation
from dsft.measure.example import evaluation_mode
from dsft.progress import Advanced, Finished, Report, Started, ignore
from dsft.tasks import split_outputs


def evaluate(
    module: nn.Module,
    loader: BatchSource,
    *,
    classes: Sequence[str],
    split_name: str,
    compute: Compute,
    keys: Sequence[str],
    report: Report = ignore,
    task: str | None = None,
) -> Evaluation:
    """Score a network on every readable image of a split.

    The network runs in evaluation mode and without gradients; afterwards every part of it is in the mode
    that it was in.

    Args:
        module: The network, on the device of ``compute``.
        loader: The split, with the evaluation transform and not shuffled.
        classes: The class table, in the order of the logits.
        split_name: Name of the split, for the metrics and the messages.
        compute: How the network runs.
        keys: Names of the split's images, by position.
        report: Receives the progress, in images.
        task: What the progress is called; left out, ``evaluate`` and the split's name.

    Raises:
        ModelError: The output is not one logit for each class.
        TrainingError: A logit is not finite.
        DataError: There is no readable image.
    """
    task = task or f"evaluate {split_name}"
    batches: list[tuple[Tensor, Tensor, Tensor]] = []
    report(Started(task, len(keys), "images"))
    done = 0
    try:
        with evaluation_mode(module), torch.inference_mode():
            for batch in loader.epoch(0):
                logits = _answer(module, batch, compute, len(classes))
                _require_finite(logits, batch.positions, keys, split_name)
                batches.append((logits, batch.targets, batch.positions))
                done += len(logits)
                report(Advanced(task, done))
    finally:
        report(Finished(task))
    if not batches:
        raise DataError(
            f"split {split_name}: at least one readable image is needed, found none "
            f"({len(loader.skipped)} of {len(keys)} could not be read). Check the image files."
        )
    logits, targets, positions = (torch.cat(column) for column in zip(*batches, strict=True))
    return Evaluation.of(
        logits, targets, positions, classes=classes, split_name=split_name, skipped=len(loader.skipped)
    )


def _answer(module: nn.Module, batch: LabelledBatch, compute: Compute, num_classes: int) -> Tensor:
    with compute.autocast():
        logits, _ = split_outputs(module(compute.place(batch.images)))
    if logits.shape != (len(batch.targets), num_classes):
        raise ModelError(
            f"output of the model: {num_classes} classes need logits of shape ({len(batch.targets)}, "
            f"{num_classes}), found {tuple(logits.shape)}. Replace the head, or give data of these classes."
        )
    return logits.float().cpu()


def _require_finite(logits: Tensor, positions: Tensor, keys: Sequence[str], split_name: str) -> None:
    is_finite = logits.isfinite().all(dim=1)
    if not is_finite.all():
        row = int(is_finite.logical_not().nonzero()[0])
        raise TrainingError(
            f"split {split_name}: logits must be finite, found {logits[row, :5].tolist()} among those of "
            f"image {keys[int(positions[row])]!r}. The weights have diverged, or mixed precision overflows: "
            "train with a lower learning rate, or try train.amp=none."
        )
