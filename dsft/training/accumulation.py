"""The batches of an epoch, grouped into the steps that accumulate their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dsft.distributed.processes import Processes
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpointing.interruption import StopRequest
from dsft.training.settings import FitSettings


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


def count_images(loader: TrainingLoader, numbers: range, batches: Sequence[TrainingBatch], processes: Processes) -> int:
    """Return the number of images of a step in all processes.

    The processes communicate only if unreadable images are left out, since the loader knows the number otherwise.

    Args:
        loader: The training split.
        numbers: Numbers of the step's batches in their epoch.
        batches: This process's part of them.
        processes: The processes that take the step together.
    """
    own = sum(len(batch.images) for batch in batches)
    if processes.count == 1:
        return own
    known = [loader.images_in(number) for number in numbers]
    if None in known:
        return sum(count for (count,) in processes.gather_numbers([own]))
    return sum(count for count in known if count is not None)


def steps_per_epoch(loader: TrainingLoader, settings: FitSettings) -> int:
    """Return the optimizer steps in an epoch; the last may accumulate fewer batches than the others."""
    return -(-len(loader) // settings.grad_accum)
