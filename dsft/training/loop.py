"""The training loop: epochs of steps, each followed by a validation and, when due, a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from torch import nn

from dsft.choices import WeightsKind
from dsft.distributed.processes import Processes
from dsft.errors import InterruptedRun, TrainingError
from dsft.progress import Advanced, CheckpointSaved, EpochDone, Note, Report, StoppedEarly
from dsft.training.accumulation import batches_by_step, share_step, steps_per_epoch
from dsft.training.agreement import Agreement
from dsft.training.batches import TrainingBatch, TrainingLoader, kind_of
from dsft.training.checkpointing.checkpoint import Checkpoint, last_folder, load_checkpoint, save_best, save_last
from dsft.training.checkpointing.history import EpochValues, RunProgress, validation_metrics, write_history
from dsft.training.checkpointing.interruption import StopRequest
from dsft.training.checkpointing.save_interval import SaveInterval
from dsft.training.early_stopping import best_index, best_indices, has_stalled, monitored
from dsft.training.failures import explained_save
from dsft.training.loss_buffer import LossBuffer
from dsft.training.optim.weight_averaging import save_epoch
from dsft.training.result import FitResult
from dsft.training.settings import FitSettings
from dsft.training.sync_interval import SyncInterval
from dsft.training.train_step import TrainStep

Validate = Callable[[nn.Module], Mapping[str, float]]
"""Evaluates a network on the validation split and returns metrics by full name, such as ``val/top1``."""

TASK = "training"
"""Name of the task that the steps are reported under."""


@dataclass
class TrainingLoop:
    """Everything around the steps of a run: epochs, validation, checkpoints and signals.

    In several processes all of them go through the same steps, validations and saves; process 0 writes.
    """

    train_step: TrainStep
    loader: TrainingLoader
    validate: Validate
    settings: FitSettings
    folder: Path
    stop: StopRequest
    processes: Processes
    report: Report
    progress: RunProgress = field(default_factory=RunProgress)

    def __post_init__(self) -> None:
        self._steps = steps_per_epoch(self.loader, self.settings)
        self._interval = SaveInterval(self.settings.save_every, self._steps)
        self._saved: tuple[int, int] | None = None
        self._agreement = Agreement(self.stop, self.processes)
        self._losses = LossBuffer(self.processes)
        is_alone_on_cpu = self.processes.count == 1 and self.train_step.device.type == "cpu"
        self._sync = SyncInterval(is_every_step=is_alone_on_cpu)
        self.total = self.settings.schedule.epochs * self._steps

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint of an earlier process, in all processes."""
        state = {}
        if self.processes.is_first:
            state = load_checkpoint(self.folder, checkpoint, self.train_step.module, self.train_step.average)
        self.train_step.load_state(self.processes.broadcast(state))
        for network in (self.train_step.module, self.train_step.average):
            if network is not None:
                self.processes.broadcast_module(network)
        self.progress = checkpoint.progress
        self._saved = self._position()
        if self.processes.is_first:
            write_history(self.folder, self.progress.history)

    def train(self) -> None:
        """Train until the last epoch, or until patience or a signal ends the run."""
        while not self._is_over():
            self._train_epoch()
            metrics = self._validate()
            if metrics is not None:
                self._close_epoch(metrics)
            self._stop_if_asked()
            if self._is_over() or self._is_save_due():
                self.save()
        self._stop_if_asked()

    def save(self) -> None:
        """Save the state, unless it is on disk already."""
        if self._position() != self._saved:
            self._read_losses()
            self.train_step.share_statistics()
            self._require_finite_weights()
            if self.processes.is_first:
                self._write_state()
            self._saved = self._position()
            self._interval.restart()
            self.report(CheckpointSaved(self.progress.step))
        self._agreement.is_save_due = False
        if self._agreement.save_requested:
            self._agreement.save_requested = False
            self.report(Note(f"SIGUSR1: the state after step {self.progress.step} is saved."))

    def _write_state(self) -> None:
        step = self.train_step
        with explained_save(self.folder):
            save_last(self.folder, step.module, step.average, step.state(), self.progress)

    def result(self) -> FitResult:
        """Return the result of the run."""
        history = self.progress.history
        best = best_index(self._scores())
        averaged = self._best_epochs()
        return FitResult(
            best_epoch=best + 1,
            best=validation_metrics(history[best]),
            epochs_run=len(history),
            steps=self.progress.step,
            stopped_early=len(history) < self.settings.schedule.epochs,
            weights=self.train_step.weights if len(averaged) == 1 else WeightsKind.AVERAGE,
            averaged=averaged,
            images_per_second=self.progress.images / self.progress.seconds,
            history=tuple(history),
        )

    def _train_epoch(self) -> None:
        epoch, meter = len(self.progress.history), self.progress.meter
        end = (epoch + 1) * self._steps
        self.train_step.start_epoch()
        self._start_clocks()
        for step, batches in enumerate(self._step_batches(epoch), self.progress.step):
            if batches is None:
                break
            shared = share_step(self.loader, self._batch_numbers(step), batches, self.processes)
            meter.add_data_time()
            if shared.images == 0:
                continue
            self._losses.add(self.train_step.run(step, shared.parts, shared.images), shared.images)
            self.progress.step = step + 1
            self._finish_step(end)
            if self._agreement.signal is not None:
                break
        self._finish_epoch(epoch, end)

    def _finish_step(self, end: int) -> None:
        """Report a step, and synchronize and save when due."""
        step, meter = self.progress.step, self.progress.meter
        is_sync_due = self._sync.is_due(step) or self._interval.is_due_by_step(step) or step == end
        if is_sync_due:
            self._read_losses()
        meter.add_step_time()
        loss = {"loss": meter.loss} if meter.images else {}
        self.report(Advanced(TASK, step, {**loss, "lr": self.train_step.rate}))
        if self.processes.count == 1 or is_sync_due:
            steps = self._agree()
            if is_sync_due:
                self._sync.restart(step, steps)
        # At the end of an epoch its validation comes first.
        if step < end and self._is_save_due():
            self.save()
            self._start_clocks()

    def _finish_epoch(self, epoch: int, end: int) -> None:
        if self._read_losses():
            self.progress.meter.add_step_time()
        self._agree()
        if self._agreement.signal is not None:
            return
        if self.progress.meter.images == 0:
            raise TrainingError(f"epoch {epoch + 1}: every batch was empty. Check the data with dsft data check.")
        # Even if batches were empty, the next epoch begins at its own step of the schedule.
        self.progress.step = end

    def _validate(self) -> Mapping[str, float] | None:
        """Return the validation metrics; None if a signal came before, or in a single process before their end."""
        if self._agreement.signal is not None:
            return None
        if self.processes.count == 1:
            return self.stop.run_or_abort(lambda: self.validate(self.train_step.evaluated))
        self.train_step.share_statistics()
        # Not aborted, since the others would wait; process 0 decides, in case the last bits differ.
        return self.processes.broadcast(self.validate(self.train_step.evaluated))

    def _step_batches(self, epoch: int) -> Iterator[list[TrainingBatch] | None]:
        first = self.progress.step - epoch * self._steps
        # Several processes stop together, after a step at which they agree to.
        stop = self.stop if self.processes.count == 1 else StopRequest()
        return batches_by_step(self.loader, epoch, range(first, self._steps), self.settings.grad_accum, stop)

    def _batch_numbers(self, step: int) -> range:
        size = self.settings.grad_accum
        first = step % self._steps * size
        return range(first, min(first + size, len(self.loader)))

    def _start_clocks(self) -> None:
        self.progress.meter.start()
        self._sync.start(self.progress.step)

    def _read_losses(self) -> bool:
        """Add the losses since the last synchronization to the epoch's, and return whether there are any.

        Raises:
            TrainingError: One of them is not finite.
        """
        losses = self._losses.read()
        for number, (loss, images) in enumerate(losses, self.progress.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss must be finite, found {loss!r} at step {number} ({self._where()}). The state before is "
                    f"kept in {str(last_folder(self.folder))!r}. Lower optim.lr, set optim.clip_grad or "
                    "schedule.warmup_epochs, or set train.amp=none."
                )
            self.progress.meter.add(loss, images)
        return bool(losses)

    def _require_finite_weights(self) -> None:
        """Refuse to replace a checkpoint by one from which no run can be resumed."""
        if self.train_step.is_finite():
            return
        raise TrainingError(
            f"the weights must be finite, found NaN or infinity after step {self.progress.step} ({self._where()}). The "
            f"state before is kept in {str(last_folder(self.folder))!r}. Lower optim.lr, set optim.clip_grad, or set "
            "train.amp=none."
        )

    def _where(self) -> str:
        return f"epoch {len(self.progress.history) + 1}, learning rate {self.train_step.rate:g}"

    def _close_epoch(self, metrics: Mapping[str, float]) -> None:
        """Record the values of an epoch, and save its weights if they are the best."""
        progress, epoch = self.progress, len(self.progress.history)
        monitored(metrics, self.settings.stopping.monitor)
        values = progress.meter.values(
            epoch=epoch + 1, step=progress.step, rate=self.train_step.rate, validated=metrics
        )
        progress.close_epoch(values)
        is_best = best_index(self._scores()) == epoch
        if self.processes.is_first:
            self._write_epoch(values, is_best)
        unit = kind_of(self.loader).plural
        self.report(EpochDone(epoch + 1, self.settings.schedule.epochs, values, is_best, unit))
        self._report_early_stop()

    def _write_epoch(self, values: EpochValues, is_best: bool) -> None:
        with explained_save(self.folder):
            if self.settings.keep_best > 1:
                save_epoch(self.folder, self.train_step.evaluated, len(self.progress.history), self._best_epochs())
            if is_best:
                save_best(self.folder, self.train_step.evaluated, {"weights": self.train_step.weights, **values})
            write_history(self.folder, self.progress.history)

    def _agree(self) -> int:
        step = self.progress.step
        return self._agreement.update(is_save_due=self._interval.is_due(step), sync_steps=self._sync.propose(step))

    def _is_save_due(self) -> bool:
        return self._agreement.save_requested or self._agreement.is_save_due

    def _is_over(self) -> bool:
        return self._is_complete() or has_stalled(self._scores(), self.settings.stopping)

    def _is_complete(self) -> bool:
        return len(self.progress.history) >= self.settings.schedule.epochs

    def _report_early_stop(self) -> None:
        stopping, history = self.settings.stopping, self.progress.history
        if stopping.patience is None or self._is_complete() or not self._is_over():
            return
        best, epochs = best_index(self._scores()), self.settings.schedule.epochs
        value = history[best][stopping.monitor]
        self.report(StoppedEarly(len(history), epochs, stopping.patience, stopping.monitor, best + 1, value))

    def _stop_if_asked(self) -> None:
        self._agree()
        number = self._agreement.signal
        if number is None:
            return
        self.save()
        # No process ends, and is missed by the others, before the state is on disk.
        self.processes.barrier()
        raise InterruptedRun(
            f"stopped by {Signals(number).name} after step {self.progress.step} of {self.total}; the state is saved in "
            f"{str(last_folder(self.folder))!r}. Continue with --resume.",
            number,
        )

    def _position(self) -> tuple[int, int]:
        """Return what distinguishes this state from others: completed steps and validated epochs."""
        return self.progress.step, len(self.progress.history)

    def _best_epochs(self) -> tuple[int, ...]:
        """Return the best epochs so far, counted from 1, the best first, as many as are averaged."""
        return tuple(index + 1 for index in best_indices(self._scores(), self.settings.keep_best))

    def _scores(self) -> list[float]:
        return [monitored(values, self.settings.stopping.monitor) for values in self.progress.history]
