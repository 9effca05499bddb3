"""The batches of an epoch, grouped into the steps that accumulate their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dsft.distributed.processes import Processes
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpointing.interruption import StopRequest
from dsft.training.settings import FitSettings


@dataclass(frozen=True)
class StepBatches:
    """The batches whose gradients are accumulated in a step.

    Attributes:
        parts: This process's part of each batch; None where only other processes have images of it.
        images: Number of images of all batches in all processes.
    """

    parts: tuple[TrainingBatch | None, ...]
    images: int


def batches_by_step(
    loader: TrainingLoader, epoch: int, steps: range, size: int, stop: StopRequest
) -> Iterator[list[TrainingBatch] | None]:
    """Yield the batches of each step: an empty list if none of its images can be read.

    Args:
        loader: The training split, or this process's part of it.
        epoch: The epoch, counted from 0.
        steps: The steps to take, counted from the beginning of the epoch.
        size: Batches in a step; the last step of the epoch may have fewer.
        stop: If it is set before all batches of a step have been read, None is yielded and the iteration ends.
    """
    batches = _until_stopped(loader, epoch, steps.start * size, stop)
    ahead: TrainingBatch | None = None
    for step in steps:
        group: list[TrainingBatch] = []
        while not group or group[-1].number < (step + 1) * size - 1:
            batch = ahead if ahead is not None else next(batches, None)
            # Batches without readable images are skipped, so this one may belong to a later step.
            ahead = batch if batch is not None and batch.number // size > step else None
            if batch is None or ahead is not None:
                break
            group.append(batch)
        if batch is None and stop.is_set():
            yield None
            return
        yield group


def _until_stopped(loader: TrainingLoader, epoch: int, start: int, stop: StopRequest) -> Iterator[TrainingBatch]:
    batches = loader.epoch(epoch, start)
    while not stop.is_set():
        try:
            batch = next(batches, None)
        except Exception:
            # A signal to the whole process group may end the loader's workers too.
            if not stop.is_set():
                raise
            return
        if batch is None:
            return
        yield batch


def share_step(
    loader: TrainingLoader, numbers: range, batches: Sequence[TrainingBatch], processes: Processes
) -> StepBatches:
    """Return the batches of a step as all processes see them.

    The processes communicate only if unreadable images are left out, since the loader knows the numbers otherwise.

    Args:
        loader: The training split.
        numbers: Numbers of the step's batches in their epoch.
        batches: This process's part of them.
        processes: The processes that take the step together.
    """
    own = {batch.number: batch for batch in batches}
    if processes.count == 1:
        return StepBatches(tuple(batches), sum(len(batch.images) for batch in batches))
    known = [loader.images_in(number) for number in numbers]
    counts = [count for count in known if count is not None]
    if len(counts) < len(known):
        found = processes.gather_numbers([len(own[number].images) if number in own else 0 for number in numbers])
        counts = [sum(images) for images in zip(*found, strict=True)]
    parts = (own.get(number) for number, count in zip(numbers, counts, strict=True) if count)
    return StepBatches(tuple(parts), sum(counts))


def steps_per_epoch(loader: TrainingLoader, settings: FitSettings) -> int:
    """Return the optimizer steps in an epoch; the last may accumulate fewer batches than the others."""
    return -(-len(loader) // settings.grad_accum)
