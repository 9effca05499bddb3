"""A dry run: one training batch and one evaluation batch, and nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dsft.assembly import Experiment
from dsft.choices import SplitName
from dsft.data import Batch, BatchLoader, Windows
from dsft.evaluation import evaluate
from dsft.progress import Note, Report
from dsft.training import steps_per_epoch, try_step


@dataclass(frozen=True)
class _FirstBatch:
    """A loader of which only the first batch is read."""

    loader: BatchLoader

    @property
    def skipped(self) -> Collection[str]:
        return self.loader.skipped

    @property
    def windows(self) -> Windows | None:
        return self.loader.windows

    def epoch(self, number: int) -> Iterator[Batch]:
        yield from itertools.islice(self.loader.epoch(number), 1)


def try_experiment(experiment: Experiment, report: Report) -> None:
    """Train on the first batch, and score the first batch of val.

    Raises:
        DsftError: The run would fail there.
    """
    training, loaders, split = experiment.training, experiment.data.loaders, experiment.data.splits.val
    loss = try_step(training, loaders.train, report=report)
    evaluate(
        training.module,
        _FirstBatch(loaders.evaluation[SplitName.VAL]),
        split,
        compute=training.compute,
        task=training.settings.task,
        processes=training.processes,
    )
    steps = training.settings.schedule.epochs * steps_per_epoch(loaders.train, training.settings)
    report(Note(f"dry run: loss {loss:.4f} on the first batch; the run would take {steps:,} steps. Nothing written."))
