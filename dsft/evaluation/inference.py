"""Run a network on batches of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsft.data.windows import Windows
from dsft.devices import Compute
from dsft.errors import ModelError, TrainingError
from dsft.evaluation.batches import BatchSource, LabelledBatch, views_of
from dsft.measure.example import evaluation_mode
from dsft.tasks import Task


class BatchOutputs(NamedTuple):
    """The outputs for a batch.

    Attributes:
        outputs: The main output ``(batch, ...)``, float32, on the device.
        batch: The images with their targets and positions.
    """

    outputs: Tensor
    batch: LabelledBatch


def infer_batches(
    module: nn.Module,
    loader: BatchSource,
    *,
    num_classes: int,
    compute: Compute,
    keys: Sequence[str],
    what: str,
    advance: Callable[[int], None],
    task: Task,
) -> Iterator[BatchOutputs]:
    """Yield the outputs of a network for all readable images.

    The network runs in evaluation mode and without gradients; afterwards the training mode of all modules is restored.

    Args:
        module: The network, on the device of ``compute``.
        loader: The images, with the evaluation transform and not shuffled.
        num_classes: Expected number of outputs.
        compute: How the network runs.
        keys: Key of each image, by position.
        what: Name of the images in messages, such as ``split test``.
        advance: Called with the number of images processed so far.
        task: The task of the network.

    Raises:
        ModelError: The output does not have the shape that the task and the classes need.
        TrainingError: An output is not finite.
    """
    done, has_views = 0, views_of(loader) > 1
    with evaluation_mode(module):
        for batch in loader.epoch(0):
            if has_views:
                outputs = _infer_views(module, batch.images, compute, num_classes, task)
            else:
                outputs = _infer(module, batch.images, compute, num_classes, task, loader.windows)
            _require_finite(outputs, batch.positions, keys, what, task)
            done += len(outputs)
            advance(done)
            yield BatchOutputs(outputs, batch)


def _infer_views(module: nn.Module, images: Tensor, compute: Compute, num_classes: int, task: Task) -> Tensor:
    """Return the logits of the mean probabilities of several views ``(batch, views, ...)``."""
    if task.labels is None:
        raise ModelError(f"task {task.name}: predictions for several views of an example cannot be averaged.")
    # One after the other, so that several views need no more memory than one.
    outputs = [_infer(module, view, compute, num_classes, task) for view in images.unbind(1)]
    return task.labels.scorer.average(torch.stack(outputs))


def _infer(
    module: nn.Module, images: Tensor, compute: Compute, num_classes: int, task: Task, windows: Windows | None = None
) -> Tensor:
    def network(images: Tensor) -> Tensor:
        return task.codec.split_outputs(module(images))[0]

    # Not around the loop: a suspended generator would leave inference mode enabled for its caller.
    with torch.inference_mode(), compute.autocast():
        placed = compute.place(images)
        outputs = network(placed) if windows is None else windows.run(network, placed)
    expected = task.codec.output_shape(images.shape, num_classes)
    if outputs.shape != expected:
        raise ModelError(
            f"output of the model: for {num_classes} classes the {task.codec.output_name} must have shape {expected}, "
            f"found {tuple(outputs.shape)}. Replace the head, or use data with the model's classes."
        )
    # A copy outside of inference mode, which the caller may use without restrictions.
    return outputs.float().clone()


def _require_finite(outputs: Tensor, positions: Tensor, keys: Sequence[str], what: str, task: Task) -> None:
    is_finite = outputs.flatten(1).isfinite().all(dim=1)
    if not is_finite.all():
        row = int(is_finite.logical_not().nonzero()[0])
        raise TrainingError(
            f"{what}: {task.codec.output_name} must be finite, found {outputs[row].flatten()[:5].tolist()} among those "
            f"of {keys[int(positions[row])]!r}. The weights have diverged, or mixed precision overflows: "
            "train with a lower learning rate, or try train.amp=none."
        )
