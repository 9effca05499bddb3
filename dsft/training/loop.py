"""The training loop: epochs of steps, each followed by a validation and a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from torch import nn

from dsft.choices import WeightsKind
from dsft.distributed.processes import Processes
from dsft.errors import InterruptedRun, TrainingError
from dsft.progress import Advanced, CheckpointSaved, EpochDone, Note, Report
from dsft.training.accumulation import batches_by_step, steps_per_epoch
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpointing.checkpoint import Checkpoint, last_folder, load_checkpoint, save_best, save_last
from dsft.training.checkpointing.history import EpochValues, Standing, validated_figures, write_history
from dsft.training.checkpointing.interruption import AgreedSignals, StopRequest
from dsft.training.checkpointing.save_interval import SaveInterval
from dsft.training.early_stopping import best_index, best_indices, has_stalled, monitored
from dsft.training.failures import explained_save
from dsft.training.optim.weight_averaging import keep_weights
from dsft.training.settings import FitSettings
from dsft.training.train_step import Learner

Validate = Callable[[nn.Module], Mapping[str, float]]
"""Scores a network on the validation split; the figures have their full names, such as ``val/top1``."""

TASK = "training"
"""The task that the steps are reported under."""


@dataclass(frozen=True)
class FitResult:
    """What a training run came to.

    Attributes:
        best_epoch: The epoch, counted from 1, that validated best.
        best: The validation's figures of that epoch.
        epochs_run: Epochs that were trained and validated.
        steps: Steps of the schedule that they took.
        stopped_early: ``patience`` ended the run.
        weights: Which weights the network now has: those of the best epoch (trained, or their moving average), or the
            mean of those of the best epochs.
        averaged: The epochs that a mean is of, the best first; one where there is no mean.
        images_per_second: Training throughput, validation left out.
        history: The figures of every epoch, as in ``metrics.jsonl``.
    """

    best_epoch: int
    best: Mapping[str, float]
    epochs_run: int
    steps: int
    stopped_early: bool
    weights: WeightsKind
    averaged: tuple[int, ...]
    images_per_second: float
    history: tuple[EpochValues, ...]


@dataclass
class Loop:
    """A run between its steps."""

    learner: Learner
    loader: TrainingLoader
    validate: Validate
    settings: FitSettings
    folder: Path
    stop: StopRequest
    processes: Processes
    report: Report
    standing: Standing = field(default_factory=Standing)

    def __post_init__(self) -> None:
        self._steps = steps_per_epoch(self.loader, self.settings)
        self._interval = SaveInterval(self.settings.save_every, self._steps)
        self._saved: tuple[int, int] | None = None
        self._signals = AgreedSignals(self.stop, self.processes)
        self.total = self.settings.schedule.epochs * self._steps

    def go_back_to(self, checkpoint: Checkpoint) -> None:
        """Stand where an earlier process stood."""
        learner, state = self.learner, {}
        if self.processes.is_first:
            state = load_checkpoint(self.folder, checkpoint, learner.module, learner.average)
        learner.load_state(self.processes.broadcast(state))
        for network in (learner.module, learner.average):
            if network is not None:
                self.processes.broadcast_module(network)
        self.standing = checkpoint.standing
        self._saved = self._place()
        if self.processes.is_first:
            write_history(self.folder, self.standing.history)

    def train(self) -> None:
        """Train until the last epoch, or until patience or a signal ends it."""
        while not self._is_over():
            self._train_epoch()
            validated = self._validate()
            if validated is not None:
                self._close_epoch(validated)
            self._leave_if_asked()
            if self._is_over() or self._is_save_due():
                self.save()
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        self._signals.heed()
        if self._signals.number is not None:
            self.save()
            # Nobody leaves, and is missed, before the state is on the disk.
            self.processes.wait()
            raise self._interrupted(self._signals.number)

    def save(self) -> None:
        """Save the state, where it is not on the disk yet."""
        if self._place() != self._saved:
            self._require_finite_weights()
            if self.processes.is_first:
                self._write_state()
            self._saved = self._place()
            self._interval.restart()
            self.report(CheckpointSaved(self.standing.step))
        if self._signals.save_wanted:
            self._signals.save_wanted = False
            self.report(Note(f"SIGUSR1: the state after step {self.standing.step} is saved."))

    def _write_state(self) -> None:
        learner = self.learner
        with explained_save(self.folder):
            save_last(self.folder, learner.module, learner.average, learner.state(), self.standing)

    def result(self) -> FitResult:
        """Return what the run came to."""
        history = self.standing.history
        best = best_index(self._scores())
        averaged = self._best_epochs()
        return FitResult(
            best_epoch=best + 1,
            best=validated_figures(history[best]),
            epochs_run=len(history),
            steps=self.standing.step,
            stopped_early=len(history) < self.settings.schedule.epochs,
            weights=self.learner.weights if len(averaged) == 1 else WeightsKind.AVERAGE,
            averaged=averaged,
            images_per_second=self.standing.images / self.standing.seconds,
            history=tuple(history),
        )

    def _place(self) -> tuple[int, int]:
        """Return what tells this state from those before and after: steps, and epochs that were validated."""
        return self.standing.step, len(self.standing.history)

    def _is_over(self) -> bool:
        is_complete = len(self.standing.history) >= self.settings.schedule.epochs
        return is_complete or has_stalled(self._scores(), self.settings.stopping)

    def _train_epoch(self) -> None:
        epoch, tally = len(self.standing.history), self.standing.tally
        end = (epoch + 1) * self._steps
        self.learner.start_epoch()
        tally.start()
        for step, batches in enumerate(self._step_batches(epoch), self.standing.step):
            images = self._count_images(batches)
            if images is None:
                break
            tally.got_data()
            if images == 0:
                continue
            loss = self.learner.update(step, batches or [], images)
            self.standing.step = step + 1
            self._require_finite(loss)
            tally.add(loss, images)
            self.report(Advanced(TASK, step + 1, {"loss": tally.loss, "lr": self.learner.rate}))
            self._signals.heed()
            # At the end of an epoch its validation comes first.
            if step + 1 < end and self._is_save_due():
                self.save()
                tally.start()
            if self._signals.number is not None:
                break
        self._signals.heed()
        if self._signals.number is not None:
            return
        if tally.images == 0:
            raise TrainingError(f"epoch {epoch + 1}: every batch was empty. Check the images of the train split.")
        # Also where batches came out empty, the next epoch begins at its place in the schedule.
        self.standing.step = end

    def _validate(self) -> Mapping[str, float] | None:
        """Return the figures of the validation; None where a signal came before, or here before its end."""
        if self._signals.number is not None:
            return None
        if self.processes.count == 1:
            return self.stop.run_or_break(lambda: self.validate(self.learner.scored))
        # Who broke off would leave the others waiting. Process 0's figures decide, should one differ in its last bit.
        return self.processes.broadcast(self.validate(self.learner.scored))

    def _step_batches(self, epoch: int) -> Iterator[list[TrainingBatch] | None]:
        first = self.standing.step - epoch * self._steps
        steps = range(first, self._steps)
        return batches_by_step(self.loader, epoch, steps, self.settings.grad_accum, self.stop)

    def _count_images(self, batches: Sequence[TrainingBatch] | None) -> int | None:
        """Return how many images the processes have for a step, or None where a signal has kept one from its own."""
        own = -1 if batches is None else sum(len(batch.images) for batch in batches)
        counts = [count for (count,) in self.processes.gather_numbers([own])]
        return None if min(counts) < 0 else sum(counts)

    def _require_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        raise TrainingError(
            f"the loss must be finite, found {loss!r} at step {self.standing.step} ({self._where()}). The state before "
            f"is kept in {str(last_folder(self.folder))!r}. Lower optim.lr, set optim.clip_grad or "
            "schedule.warmup_epochs, or set train.amp=none."
        )

    def _require_finite_weights(self) -> None:
        """Refuse to replace a checkpoint by one that no run could go on from."""
        if self.learner.is_finite():
            return
        raise TrainingError(
            f"the weights must be finite, found NaN or infinity after step {self.standing.step} ({self._where()}). The "
            f"state before is kept in {str(last_folder(self.folder))!r}. Lower optim.lr, set optim.clip_grad, or set "
            "train.amp=none."
        )

    def _where(self) -> str:
        return f"epoch {len(self.standing.history) + 1}, learning rate {self.learner.rate:g}"

    def _close_epoch(self, validated: Mapping[str, float]) -> None:
        """Keep an epoch's figures, and its weights where they are the best."""
        standing, epoch = self.standing, len(self.standing.history)
        monitored(validated, self.settings.stopping.monitor)
        values = standing.tally.values(epoch=epoch + 1, step=standing.step, rate=self.learner.rate, validated=validated)
        standing.close_epoch(values)
        is_best = best_index(self._scores()) == epoch
        if self.processes.is_first:
            self._write_epoch(values, is_best)
        self.report(EpochDone(epoch + 1, self.settings.schedule.epochs, values, is_best))

    def _write_epoch(self, values: EpochValues, is_best: bool) -> None:
        with explained_save(self.folder):
            if self.settings.keep_best > 1:
                keep_weights(self.folder, self.learner.scored, len(self.standing.history), self._best_epochs())
            if is_best:
                save_best(self.folder, self.learner.scored, {"weights": self.learner.weights, **values})
            write_history(self.folder, self.standing.history)

    def _is_save_due(self) -> bool:
        return self._signals.save_wanted or self._interval.is_due(self.standing.step)

    def _interrupted(self, number: int) -> InterruptedRun:
        return InterruptedRun(
            f"stopped by {Signals(number).name} after step {self.standing.step} of {self.total}; the state is saved in "
            f"{str(last_folder(self.folder))!r}. Go on with --resume.",
            number,
        )

    def _best_epochs(self) -> tuple[int, ...]:
        """Return the best epochs so far, counted from 1 and the best first, as many as are kept."""
        return tuple(index + 1 for index in best_indices(self._scores(), self.settings.keep_best))

    def _scores(self) -> list[float]:
        return [monitored(values, self.settings.stopping.monitor) for values in self.standing.history]
