"""The batches of an epoch, sorted into the steps that sum them up."""

from __future__ import annotations

from collections.abc import Iterator

from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpointing.interruption import StopRequest
from dsft.training.settings import FitSettings


def batches_by_step(
    loader: TrainingLoader, epoch: int, steps: range, size: int, stop: StopRequest
) -> Iterator[list[TrainingBatch] | None]:
    """Yield the batches of each step: none where no image of them could be read.

    Args:
        loader: The training split, or what this process has of it.
        epoch: The epoch, counted from 0.
        steps: The steps to take, counted from the epoch's beginning.
        size: Batches in a step; the epoch's last step may have fewer.
        stop: Whether a signal has come; where it comes before the batches of a step are all there, None is the last
            that is yielded.
    """
    batches = _until_stopped(loader, epoch, steps.start * size, stop)
    ahead: TrainingBatch | None = None
    for step in steps:
        group: list[TrainingBatch] = []
        while not group or group[-1].number < (step + 1) * size - 1:
            batch = ahead if ahead is not None else next(batches, None)
            # A batch of a later step, since those before it came out empty, waits.
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
            # A signal to the whole process group may end the processes that read images as well.
            if not stop.is_set():
                raise
            return
        if batch is None:
            return
        yield batch


def steps_per_epoch(loader: TrainingLoader, settings: FitSettings) -> int:
    """Return the optimizer steps of an epoch; the last may sum up fewer batches than the others."""
    return -(-len(loader) // settings.grad_accum)
