"""Evaluate the networks of a run: before, during and after the training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from dsft.assembly import Experiment
from dsft.choices import SplitName
from dsft.commands.run_folder import RunFolder
from dsft.devices import Compute
from dsft.evaluation import Evaluation, evaluate
from dsft.progress import Note, Report, Scored, Warn
from dsft.report.finished_run import NETWORKS_BEFORE_TRAINING
from dsft.tasks import Metrics

LOW_TEACHER_POINTS = 50.0
"""Points (percent) of the main score, such as top-1, below which there is a warning about the teacher."""


@dataclass(frozen=True)
class Score:
    """The metrics of one network on one split; the slot is the name of its folder under ``evaluation/``."""

    slot: str
    network: str
    metrics: Metrics


@dataclass(frozen=True)
class RunScores:
    """Scores the networks of a run, in all of its processes together; process 0 writes the results."""

    experiment: Experiment
    folder: RunFolder
    report: Report

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        """Return the metrics on val that may be monitored, by their names in ``metrics.jsonl``."""
        watched = self._evaluate(module, SplitName.VAL, self.experiment.training.compute).monitored
        return {f"val/{name}": value for name, value in watched.items()}

    def before(self) -> list[Score]:
        """Score what the training starts from: the teacher on val, original and converted network on test."""
        return [*self._teacher(), *self._start()]

    def read_before(self) -> list[Score]:
        """Read back what :meth:`before` found when the run began."""
        task = self.experiment.training.settings.task
        found = {slot: self.folder.read_metrics(slot, task) for slot in NETWORKS_BEFORE_TRAINING}
        return [
            Score(slot, NETWORKS_BEFORE_TRAINING[slot], metrics)
            for slot, metrics in found.items()
            if metrics is not None
        ]

    def after(self, network: str) -> list[Score]:
        """Score the trained network on every split that the recipe names."""
        module, splits = self.experiment.training.module, self.experiment.recipe.evaluate.splits
        return [self._score(module, split, split, network) for split in splits]

    def _teacher(self) -> list[Score]:
        """Score the teacher, so that a weak one shows before it costs a training."""
        teacher, distill = self.experiment.training.teacher, self.experiment.recipe.distill
        if teacher is None or distill is None or distill.logits == 0:
            return []
        module = self.experiment.training.compute.place_module(teacher)
        score = self._score(module, SplitName.VAL, "val-teacher", NETWORKS_BEFORE_TRAINING["val-teacher"])
        main = score.metrics.layout.main
        value = main.value_in(score.metrics)
        self.report(Note(f"teacher: {main.label} {main.with_unit(value)} on val"))
        # A ratio of signal and noise has no value that is low whatever the noise.
        if main.unit == "%" and value * main.points < LOW_TEACHER_POINTS:
            self.report(
                Warn(
                    f"teacher: {main.label} of {main.with_unit(value)} on val is low, and a weak teacher makes the "
                    "student worse than labels alone. Fine-tune it on this data first, or lower distill.logits."
                )
            )
        return [score]

    def _start(self) -> list[Score]:
        networks, recipe = self.experiment.networks, self.experiment.recipe
        if not networks.knows_task or SplitName.TEST not in recipe.evaluate.splits:
            return []
        starts = {"test-original": networks.original}
        if recipe.convert is not None:
            starts["test-converted"] = networks.student
        return [
            self._score(network.module, SplitName.TEST, slot, NETWORKS_BEFORE_TRAINING[slot])
            for slot, network in starts.items()
        ]

    def evaluate_exactly(self, module: nn.Module, split: SplitName) -> Evaluation:
        """Evaluate a network in the dtype of its parameters, as ``dsft evaluate`` does; write nothing."""
        exact = dataclasses.replace(self.experiment.training.compute, amp_dtype=None)
        return self._evaluate(module, split, exact)

    def _score(self, module: nn.Module, split: SplitName, slot: str, network: str) -> Score:
        evaluation = self.evaluate_exactly(module, split)
        if self.experiment.training.processes.is_first:
            self.folder.write_evaluation(slot, evaluation, self.experiment.data.splits.get(split))
        values = evaluation.metrics.to_dict().items()
        self.report(Scored(slot, {name: value for name, value in values if isinstance(value, int | float)}))
        return Score(slot, network, evaluation.metrics)

    def _evaluate(self, module: nn.Module, name: SplitName, compute: Compute) -> Evaluation:
        data, training = self.experiment.data, self.experiment.training
        split = data.splits.get(name)
        return evaluate(
            module,
            data.loaders.evaluation[name],
            split,
            compute=compute,
            task=training.settings.task,
            processes=training.processes,
            report=self.report,
        )
