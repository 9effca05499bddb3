"""Run a network on batches of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.errors import ModelError, TrainingError
from dsft.evaluation.batches import BatchSource, LabelledBatch
from dsft.measure.example import evaluation_mode
from dsft.tasks import split_outputs


class BatchOutputs(NamedTuple):
    """The outputs for a batch.

    Attributes:
        logits: ``(batch, classes)``, float32, on the CPU.
        targets: In the representation of the task.
        positions: Position of every row in the split ``(batch,)``, int64.
    """

    logits: Tensor
    targets: Tensor
    positions: Tensor


def infer_batches(
    module: nn.Module,
    loader: BatchSource,
    *,
    num_classes: int,
    compute: Compute,
    keys: Sequence[str],
    what: str,
    advance: Callable[[int], None],
) -> Iterator[BatchOutputs]:
    """Yield the outputs of a network for all readable images.

    The network runs in evaluation mode and without gradients; afterwards the training mode of all modules is restored.

    Args:
        module: The network, on the device of ``compute``.
        loader: The images, with the evaluation transform and not shuffled.
        num_classes: Expected number of logits.
        compute: How the network runs.
        keys: Key of each image, by position.
        what: Name of the images in messages, such as ``split test``.
        advance: Called with the number of images processed so far.

    Raises:
        ModelError: The output is not one logit for each class.
        TrainingError: A logit is not finite.
    """
    done = 0
    with evaluation_mode(module):
        for batch in loader.epoch(0):
            logits = _infer(module, batch, compute, num_classes)
            _require_finite(logits, batch.positions, keys, what)
            done += len(logits)
            advance(done)
            yield BatchOutputs(logits, batch.targets, batch.positions)


def _infer(module: nn.Module, batch: LabelledBatch, compute: Compute, num_classes: int) -> Tensor:
    # Not around the loop: a suspended generator would leave inference mode enabled for its caller.
    with torch.inference_mode(), compute.autocast():
        logits, _ = split_outputs(module(compute.place(batch.images)))
    if logits.shape != (len(batch.targets), num_classes):
        raise ModelError(
            f"output of the model: for {num_classes} classes the logits must have shape ({len(batch.targets)}, "
            f"{num_classes}), found {tuple(logits.shape)}. Replace the head, or use data with the model's classes."
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
