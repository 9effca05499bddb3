"""The training loop: epochs of steps, each followed by a validation and a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from torch import nn

from dsft.choices import WeightsKind
from dsft.devices import Compute
from dsft.errors import InterruptedRun, TrainingError
from dsft.progress import Advanced, EpochDone, Finished, Report, Started, ignore
from dsft.training.batches import TrainingBatch, TrainingLoader
from dsft.training.checkpoint import best_folder, last_folder, load_best, save_best, save_last
from dsft.training.history import EpochValues, Tally, write_history
from dsft.training.interruption import StopRequest, stop_request
from dsft.training.learner import Learner
from dsft.training.reproducible import reproducible
from dsft.training.settings import FitSettings
from dsft.training.stopping import best_index, has_stalled, monitored

Validate = Callable[[nn.Module], Mapping[str, float]]
"""Scores a network on the validation split; the figures have their full names, such as ``val/top1``."""

_TASK = "train"


@dataclass(frozen=True)
class FitResult:
    """What a training run came to.

    Attributes:
        best_epoch: The epoch, counted from 1, whose weights the network now has.
        best: The validation's figures of that epoch.
        epochs_run: Epochs that were trained and validated.
        steps: Steps of the schedule that they took.
        stopped_early: ``patience`` ended the run.
        weights: Whether the network has the averaged weights or the trained ones.
        images_per_second: Training throughput, validation left out.
        history: The figures of every epoch, as in ``metrics.jsonl``.
    """

    best_epoch: int
    best: Mapping[str, float]
    epochs_run: int
    steps: int
    stopped_early: bool
    weights: WeightsKind
    images_per_second: float
    history: tuple[EpochValues, ...]


def fit(
    module: nn.Module,
    loader: TrainingLoader,
    *,
    validate: Validate,
    settings: FitSettings,
    compute: Compute,
    folder: Path,
    teacher: nn.Module | None = None,
    head: Collection[str] = (),
    converted: Collection[str] = (),
    report: Report = ignore,
) -> FitResult:
    """Train a network in place and give it the weights that validated best.

    Everything random in the network is a function of ``settings.seed``, and the process keeps its own random
    state, deterministic mode and signal handlers. Ctrl-C or SIGTERM finishes the step (a validation is broken
    off), saves the checkpoint ``last`` and ends the run; a second one acts at once.

    Args:
        module: The network; afterwards on the device of ``compute``, in evaluation mode.
        loader: The training split; its length is the steps of an epoch.
        validate: Scores the network, or its moving average where there is one, after every epoch.
        settings: How to train.
        compute: Where, and in which number format.
        folder: The run's folder: ``metrics.jsonl`` and ``checkpoints/`` are written there.
        teacher: The network to learn from, where ``settings.distill`` is set; moved to the device, in
            evaluation mode.
        head: Names of the parameters of the classifier heads, which ``head`` in a phase stands for.
        converted: Names of the parameters of converted layers, which ``converted`` in a phase stands for.
        report: Told of every step and epoch.

    Raises:
        TrainingError: The loss is not finite, there was no batch, or the device failed.
        InterruptedRun: A signal stopped the run.
        InputError: The settings do not go with the network or the data.
    """
    if len(loader) == 0:
        raise TrainingError("the train split has no batch: it is empty. Give it at least one image.")
    with (
        reproducible(settings.seed, compute.device, deterministic=settings.deterministic),
        stop_request() as stop,
    ):
        learner = Learner(
            module,
            teacher,
            settings,
            compute,
            steps_per_epoch=len(loader),
            head=head,
            converted=converted,
            report=report,
        )
        run = _Run(learner, loader, validate, settings, folder, stop, report)
        report(Started(_TASK, settings.schedule.epochs * len(loader), "steps"))
        try:
            run.train()
        finally:
            learner.finish()
            report(Finished(_TASK))
        load_best(folder, module)
        return run.result()


@dataclass
class _Run:
    """A run between its epochs: the step, and the figures so far."""

    learner: Learner
    loader: TrainingLoader
    validate: Validate
    settings: FitSettings
    folder: Path
    stop: StopRequest
    report: Report
    step: int = 0
    tallies: list[Tally] = field(default_factory=list)
    validated: list[Mapping[str, float]] = field(default_factory=list)
    history: list[EpochValues] = field(default_factory=list)

    def train(self) -> None:
        """Train until the last epoch, or until patience or a signal ends it."""
        for epoch in range(self.settings.schedule.epochs):
            tally = self._train_epoch(epoch)
            validated = self.stop.run_or_break(lambda: self.validate(self.learner.scored))
            if validated is not None:
                self._close_epoch(epoch, tally, validated)
            self._save_last()
            if self.stop.received is not None:
                raise self._interrupted(self.stop.received)
            if has_stalled(self._scores(), self.settings.stopping):
                return

    def result(self) -> FitResult:
        """Return what the run came to."""
        best = best_index(self._scores())
        seconds = sum(tally.seconds for tally in self.tallies)
        return FitResult(
            best_epoch=best + 1,
            best=self.validated[best],
            epochs_run=len(self.history),
            steps=self.step,
            stopped_early=len(self.history) < self.settings.schedule.epochs,
            weights=self.learner.weights,
            images_per_second=sum(tally.images for tally in self.tallies) / seconds,
            history=tuple(self.history),
        )

    def _train_epoch(self, epoch: int) -> Tally:
        # An epoch begins at its place in the schedule even if batches of the one before came out empty.
        self.step = epoch * len(self.loader)
        self.learner.start_epoch()
        tally = Tally()
        for batch in self._batches(epoch):
            loss = self.learner.update(self.step, batch)
            self.step += 1
            self._require_finite(loss, epoch)
            tally.add(loss, len(batch.images))
            self.report(Advanced(_TASK, self.step, {"loss": tally.loss, "lr": self.learner.rate}))
        if not self.stop.is_set() and tally.images == 0:
            raise TrainingError(f"epoch {epoch + 1}: every batch was empty. Check the images of the train split.")
        return tally

    def _batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """Yield batches until the epoch ends or a signal came."""
        batches = self.loader.epoch(epoch)
        while not self.stop.is_set():
            try:
                batch = next(batches, None)
            except Exception:
                # A signal to the whole process group ends the processes that read images as well.
                if not self.stop.is_set():
                    raise
                return
            if batch is None:
                return
            yield batch

    def _require_finite(self, loss: float, epoch: int) -> None:
        if math.isfinite(loss):
            return
        kept = f"Earlier weights are in {str(best_folder(self.folder).parent)!r}. " if self.history else ""
        raise TrainingError(
            f"the loss must be finite, found {loss!r} at step {self.step} (epoch {epoch + 1}, learning rate "
            f"{self.learner.rate:g}). {kept}Lower optim.lr, set optim.clip_grad or schedule.warmup_epochs, "
            "or set train.amp=none."
        )

    def _close_epoch(self, epoch: int, tally: Tally, validated: Mapping[str, float]) -> None:
        """Keep an epoch's figures, and its weights where they are the best."""
        values = tally.values(epoch=epoch + 1, step=self.step, rate=self.learner.rate, validated=validated)
        self.tallies.append(tally)
        self.validated.append(dict(validated))
        self.history.append(values)
        is_best = best_index(self._scores()) == epoch
        if is_best:
            save_best(self.folder, self.learner.scored, {"weights": self.learner.weights, **values})
        write_history(self.folder, self.history)
        self.report(EpochDone(epoch + 1, self.settings.schedule.epochs, values, is_best))

    def _save_last(self) -> None:
        details = {"step": self.step, "weights": self.learner.weights, "history": self.history}
        save_last(self.folder, self.learner.module, self.learner.average, self.learner.state(), details)

    def _interrupted(self, number: int) -> InterruptedRun:
        total = self.settings.schedule.epochs * len(self.loader)
        return InterruptedRun(
            f"stopped by {Signals(number).name} after step {self.step} of {total}; the state is saved in "
            f"{str(last_folder(self.folder))!r}.",
            number,
        )

    def _scores(self) -> list[float]:
        return [monitored(values, self.settings.stopping.monitor) for values in self.validated]
