"""``dsft train`` and ``dsft finetune``: prepare, fit, evaluate and save; they differ in where the weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from dsft.artifact import save_model
from dsft.assembly import Experiment, Verb, prepare_experiment
from dsft.assembly.conversion import example_input
from dsft.assembly.held_out import provenance, record_training
from dsft.assembly.verdict import Verdict
from dsft.choices import InputKind, Start
from dsft.commands.dry_run import try_experiment
from dsft.commands.run_folder import RunFolder
from dsft.commands.run_record import changed_versions, describe_run, require_same_start
from dsft.commands.run_scores import RunScores, Score
from dsft.commands.run_verdict import BeforeTraining, judge_run, score_original, unfinished_verdict
from dsft.conversion import ConversionPlan, ConversionReport, report_costs
from dsft.distributed.processes import ALONE, Processes
from dsft.progress import FolderOpened, Note, Report, Warn, ignore
from dsft.recipe import Recipe
from dsft.report import write_report
from dsft.storage import at_home
from dsft.tasks import Metrics
from dsft.training import Checkpoint, FitResult, fit, ignored_save_signal


@dataclass(frozen=True)
class ExperimentResult:
    """The result of a run.

    Attributes:
        folder: The run's folder; None after a dry run.
        plan: The conversion, or None.
        costs: Its measured costs; None without a conversion and after a dry run.
        fit: The result of the training; None after a dry run.
        scores: The evaluations, in the order of the run.
        model: The network with its final weights.
        verdict: The trained network beside the original; None without a conversion and after a dry run.
        kind: What the network takes.
    """

    folder: Path | None
    plan: ConversionPlan | None = field(repr=False)
    costs: ConversionReport | None = field(repr=False)
    fit: FitResult | None = field(repr=False)
    scores: tuple[Score, ...] = field(repr=False)
    model: nn.Module = field(repr=False)
    verdict: Verdict | None = field(default=None, repr=False)
    kind: InputKind = InputKind.IMAGE

    @property
    def metrics(self) -> dict[str, Metrics]:
        """The metrics of every evaluation, such as ``test``, by the name of its folder under ``evaluation/``."""
        return {score.slot: score.metrics for score in self.scores}

    @property
    def latencies(self) -> Mapping[str, float]:
        """Milliseconds of a forward pass of one image by network, for those that the run has timed."""
        if self.costs is None:
            return {}
        before, after = self.costs.original.latency_ms, self.costs.converted.latency_ms
        timed = [score for score in self.scores if score.slot != "val-teacher"]
        return {score.network: before if score.slot == "test-original" else after for score in timed}

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, without single layers and epochs; that of a dry run has the plan."""
        costs = self.costs.to_dict() if self.costs is not None else None
        if costs is not None and self.verdict is not None:
            costs = {"verdict": self.verdict.to_dict(), **costs}
        return {
            "folder": str(self.folder) if self.folder is not None else None,
            "plan": self.plan.to_dict() if self.plan is not None and self.fit is None else None,
            "conversion": {key: value for key, value in costs.items() if key != "layers"} if costs else None,
            "best_epoch": self.fit.best_epoch if self.fit is not None else None,
            "weights": self.fit.weights if self.fit is not None else None,
            "scores": {score.slot: score.metrics.to_dict() for score in self.scores},
        }


def run(
    recipe: Recipe,
    verb: Verb,
    *,
    start: Start = Start.NEW,
    processes: Processes = ALONE,
    module: nn.Module | None = None,
    report: Report = ignore,
) -> ExperimentResult:
    """Run a recipe: build everything, train, select the best weights on val, score them, save them.

    Args:
        recipe: What to do.
        verb: From random weights, or from existing ones.
        start: How the output folder is treated.
        processes: The processes of the run; process 0 alone reads and writes the folder, and has the scores before the
            training after a resume.
        module: The user's own network, with ``model.source: python``.
        report: Receives the progress.

    Raises:
        InputError: The recipe, the data or the weights are invalid; nothing was written.
        TrainingError: The run failed; what was written until then stays.
        InterruptedRun: A signal stopped it after a checkpoint was saved.
    """
    folder = RunFolder(at_home(recipe.output.dir))
    writes = start is not Start.DRY_RUN and processes.is_first
    with ignored_save_signal(), folder.held() if writes else nullcontext():
        if start is Start.RESUME:
            return _resume(recipe, verb, folder, processes, module, report)
        overwrite = start is Start.OVERWRITE
        if writes:
            folder.require_free(recipe, overwrite=overwrite)
        experiment = prepare_experiment(recipe, verb, report, processes=processes, module=module)
        if start is Start.DRY_RUN:
            try_experiment(experiment, report)
            student = experiment.networks.student
            return ExperimentResult(None, student.plan, None, None, (), student.module)
        return _start(experiment, verb, folder, report, overwrite=overwrite)


def _start(
    experiment: Experiment, verb: Verb, folder: RunFolder, report: Report, *, overwrite: bool
) -> ExperimentResult:
    costs = None
    if experiment.training.processes.is_first:
        folder.claim(experiment.recipe, overwrite=overwrite)
        plan = experiment.networks.student.plan if experiment.recipe.convert is not None else None
        record, splits = describe_run(experiment, verb), experiment.data.splits.index()
        folder.begin(experiment.recipe, record, splits, plan)
        report(FolderOpened(folder.path))
        costs = _measure_costs(experiment, report)
    scores = RunScores(experiment, folder, report)
    found = scores.before()
    before = BeforeTraining(found, costs, score_original(scores, found))
    if costs is not None:
        folder.write_costs(costs, unfinished_verdict(costs, before.original_on_val))
    return _train(scores, verb, before, None)


def _resume(
    recipe: Recipe, verb: Verb, folder: RunFolder, processes: Processes, module: nn.Module | None, report: Report
) -> ExperimentResult:
    """Continue a run from its last checkpoint; what was measured before the training is read back."""
    earlier = processes.from_first(lambda: folder.find_earlier(recipe, verb))
    experiment = prepare_experiment(earlier.recipe, verb, report, plan=earlier.plan, processes=processes, module=module)
    require_same_start(folder.path, earlier.record, experiment)
    scores, checkpoint = RunScores(experiment, folder, report), earlier.checkpoint
    if not processes.is_first:
        return _train(scores, verb, BeforeTraining([]), checkpoint)
    folder.resume(experiment.recipe)
    report(FolderOpened(folder.path, checkpoint.progress.step))
    if checkpoint.damage is not None:
        report(Warn(f"checkpoint {checkpoint.damage}. The previous one is used."))
    if changed := changed_versions(earlier.record):
        report(
            Warn(f"versions differ from those at the start of the run: {'; '.join(changed)}. Results may differ too.")
        )
    report(Note(f"resumed after step {checkpoint.progress.step}"))
    return _train(scores, verb, BeforeTraining(scores.read_before(), *folder.read_costs()), checkpoint)


def _train(scores: RunScores, verb: Verb, before: BeforeTraining, checkpoint: Checkpoint | None) -> ExperimentResult:
    """Train, from a checkpoint if there is one; save the result, and score it."""
    experiment, folder, report = scores.experiment, scores.folder, scores.report
    networks, training = experiment.networks, experiment.training
    if networks.original.module not in (training.module, training.teacher):
        # It has been scored; from here on it would only take memory of the device.
        networks.original.module.cpu()
    fitted = fit(
        training,
        experiment.data.loaders.train,
        validate=scores.validate,
        folder=folder.path,
        resume=checkpoint,
        report=report,
    )
    _warn_of_skipped(experiment, report)
    if training.processes.is_first:
        _save(experiment, fitted, folder)
    after = scores.after("fine-tuned" if verb is Verb.FINETUNE else "trained")
    verdict = None
    if training.processes.is_first:
        verdict = judge_run(experiment, verb, before, after, report)
        if before.costs is not None and verdict is not None:
            folder.write_costs(before.costs, verdict.to_dict())
        write_report(folder.path)
        folder.finish()
    all_scores = (*before.scores, *after)
    return ExperimentResult(
        folder.path,
        networks.student.plan,
        before.costs,
        fitted,
        all_scores,
        training.module,
        verdict,
        networks.student.preprocessing.kind,
    )


def _measure_costs(experiment: Experiment, report: Report) -> ConversionReport | None:
    """Time the network before and after its conversion."""
    section, networks = experiment.recipe.convert, experiment.networks
    original, student, compute = networks.original, networks.student, experiment.training.compute
    if section is None or student.plan is None:
        return None
    budget = section.budget
    images = example_input(student.preprocessing, compute, budget.batch_size if budget is not None else 1)
    conditions = (budget.runtime, budget.threads) if budget is not None else ()
    costs = report_costs(original.module, student.module, student.plan, images, compute, *conditions, report=report)
    return costs.with_history(networks.history)


def _warn_of_skipped(experiment: Experiment, report: Report) -> None:
    """Report how many images the training has left out; an evaluation counts its own."""
    found = experiment.training.processes.gather(experiment.data.loaders.train.skipped)
    if skipped := frozenset().union(*found):
        train = experiment.data.splits.train
        count = f"{len(skipped):,} of {len(train):,} {train.input_kind.plural}"
        report(Warn(f"data: {count} of the train split cannot be read and were skipped, such as {min(skipped)!r}"))


def _save(experiment: Experiment, fitted: FitResult, folder: RunFolder) -> None:
    student, splits = experiment.networks.student, experiment.data.splits
    trainings = (*experiment.networks.trainings, record_training(experiment.recipe.data, splits))
    description = student.describe(splits.classes, fitted.weights, provenance(trainings))
    # A run that was killed in its last evaluation saves the same again.
    save_model(folder.path / "model", student.module, description, overwrite=True)
