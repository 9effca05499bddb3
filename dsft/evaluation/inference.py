"""The answers of a network, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.errors import ModelError, TrainingError
from dsft.evaluation.batches import BatchSource, LabelledBatch
from dsft.measure.example import evaluation_mode
from dsft.progress import Report, ignore, report_task
from dsft.tasks import split_outputs


class Answers(NamedTuple):
    """The answers to one batch.

    Attributes:
        logits: ``(batch, classes)``, float32, on the CPU.
        targets: The truth, as the task has it.
        positions: Index within the split of every row ``(batch,)``, int64.
    """

    logits: Tensor
    targets: Tensor
    positions: Tensor


def answer_batches(
    module: nn.Module,
    loader: BatchSource,
    *,
    num_classes: int,
    compute: Compute,
    keys: Sequence[str],
    what: str,
    task: str,
    report: Report = ignore,
    processes: int = 1,
) -> Iterator[Answers]:
    """Yield a network's answers to every readable image.

    The network runs in evaluation mode and without gradients; at the end every part of it is in the mode that it was
    in.

    Args:
        module: The network, on the device of ``compute``.
        loader: The images, with the evaluation transform and not shuffled.
        num_classes: Logits that each answer must have.
        compute: How the network runs.
        keys: Names of the images, by position.
        what: What messages call the images, such as ``split test``.
        task: What the progress is called.
        report: Receives the progress, in images.
        processes: How many share the images; the others are taken to be as far as this one.

    Raises:
        ModelError: The output is not one logit for each class.
        TrainingError: A logit is not finite.
    """
    done = 0
    with report_task(report, task, len(keys), "images") as advance, evaluation_mode(module):
        for batch in loader.epoch(0):
            logits = _answer(module, batch, compute, num_classes)
            _require_finite(logits, batch.positions, keys, what)
            done += len(logits)
            advance(min(done * processes, len(keys)))
            yield Answers(logits, batch.targets, batch.positions)


def _answer(module: nn.Module, batch: LabelledBatch, compute: Compute, num_classes: int) -> Tensor:
    # Here and not around the loop: a generator would leave the mode switched on for its caller.
    with torch.inference_mode(), compute.autocast():
        logits, _ = split_outputs(module(compute.place(batch.images)))
    if logits.shape != (len(batch.targets), num_classes):
        raise ModelError(
            f"output of the model: {num_classes} classes need logits of shape ({len(batch.targets)}, "
            f"{num_classes}), found {tuple(logits.shape)}. Replace the head, or give data of these classes."
        )
    return logits.float().cpu()


def _require_finite(logits: Tensor, positions: Tensor, keys: Sequence[str], what: str) -> None:
    is_finite = logits.isfinite().all(dim=1)
    if not is_finite.all():
        row = int(is_finite.logical_not().nonzero()[0])
        raise TrainingError(
            f"{what}: logits must be finite, found {logits[row, :5].tolist()} among those of "
            f"image {keys[int(positions[row])]!r}. The weights have diverged, or mixed precision overflows: "
            "train with a lower learning rate, or try train.amp=none."
        )
