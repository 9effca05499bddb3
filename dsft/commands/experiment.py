"""``dsft train`` and ``dsft finetune``: prepare, fit, evaluate, save; they differ in where weights come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dsft.artifact import save_model
from dsft.assembly import Experiment, Network, Verb, prepare_experiment
from dsft.assembly.conversion import example_images
from dsft.assembly.held_out import provenance, record_training
from dsft.choices import SplitName
from dsft.commands.dry_run import try_experiment
from dsft.commands.run_folder import RunFolder
from dsft.conversion import ConversionPlan, ConversionReport, report_costs
from dsft.devices import Compute
from dsft.distributed.processes import ALONE, Processes
from dsft.evaluation import Evaluation, evaluate
from dsft.progress import FolderOpened, Note, Report, Scored, Warn, ignore
from dsft.recipe import Recipe
from dsft.report import write_report
from dsft.report.finished_run import NETWORKS_BEFORE_TRAINING as BEFORE
from dsft.storage import at_home
from dsft.tasks import Metrics
from dsft.training import Checkpoint, FitResult, fit, ignored_save_signal

LOW_TEACHER_POINTS = 50.0
"""Points (percent) of the main score, such as top-1, under which a teacher is warned of."""


@dataclass(frozen=True)
class Score:
    """The metrics of one network on one split; the slot is the name of its folder under ``evaluation/``."""

    slot: str
    network: str
    metrics: Metrics


@dataclass(frozen=True)
class ExperimentResult:
    """What a run came to.

    Attributes:
        folder: The run's folder; None after a dry run.
        plan: The conversion, or None.
        costs: Its measured costs; None without a conversion and after a dry run.
        fit: How the training went; None after a dry run.
        scores: What was evaluated, in the order of the run.
    """

    folder: Path | None
    plan: ConversionPlan | None
    costs: ConversionReport | None
    fit: FitResult | None
    scores: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, without the single layers and epochs; a dry run has its plan."""
        costs = self.costs.to_dict() if self.costs is not None else None
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
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    processes: Processes = ALONE,
    report: Report = ignore,
) -> ExperimentResult:
    """Run a recipe: build everything, train, choose the best weights on val, score them, save them.

    Args:
        recipe: What to do.
        verb: From random weights, or from ones that exist.
        overwrite: An earlier run in the output folder may be replaced.
        resume: Go on with the run in the output folder, from its last checkpoint.
        dry_run: Build everything, run one training and one evaluation batch, write nothing.
        processes: Those that share the run; process 0 alone touches the folder, and knows what was scored before the
            training when it goes on.
        report: Receives the progress.

    Raises:
        InputError: The recipe, the data or the weights are at fault; nothing was written.
        TrainingError: The run failed; what was written until then stays.
        InterruptedRun: A signal stopped it after a checkpoint was saved.
    """
    with ignored_save_signal():
        folder = RunFolder(at_home(recipe.output.dir))
        if resume:
            return _go_on(recipe, verb, folder, processes, report)
        if not dry_run and processes.is_first:
            folder.require_free(recipe, overwrite=overwrite)
        experiment = prepare_experiment(recipe, verb, report, processes=processes)
        if dry_run:
            try_experiment(experiment, report)
            return ExperimentResult(None, experiment.student.plan, None, None, ())
        return _start(experiment, verb, folder, report, overwrite=overwrite)


def _start(
    experiment: Experiment, verb: Verb, folder: RunFolder, report: Report, *, overwrite: bool
) -> ExperimentResult:
    costs = None
    if experiment.processes.is_first:
        folder.open(experiment, overwrite=overwrite)
        report(FolderOpened(folder.path))
        costs = _measure_costs(experiment, folder, report)
    scores = [*_score_teacher(experiment, folder, report), *_score_before(experiment, folder, report)]
    return _finish(experiment, verb, folder, costs, scores, None, report)


def _go_on(recipe: Recipe, verb: Verb, folder: RunFolder, processes: Processes, report: Report) -> ExperimentResult:
    """Go on with a run from its last checkpoint; what was found before the training is read back."""
    earlier = processes.from_first(lambda: folder.find_earlier(recipe))
    experiment = prepare_experiment(earlier.recipe, verb, report, plan=earlier.plan, processes=processes)
    folder.require_same_start(experiment, earlier)
    checkpoint = earlier.checkpoint
    if not processes.is_first:
        return _finish(experiment, verb, folder, None, [], checkpoint, report)
    folder.go_on(experiment)
    report(FolderOpened(folder.path, checkpoint.progress.step))
    if checkpoint.damage is not None:
        report(Warn(f"checkpoint {checkpoint.damage}. The one before it is taken."))
    if changed := folder.changed_versions(earlier):
        report(Warn(f"other versions than when the run began: {'; '.join(changed)}. Figures may differ in their bits."))
    report(Note(f"resumed after step {checkpoint.progress.step}"))
    found = {slot: folder.read_metrics(slot, experiment.settings.task) for slot in BEFORE}
    scores = [Score(slot, BEFORE[slot], metrics) for slot, metrics in found.items() if metrics is not None]
    return _finish(experiment, verb, folder, folder.read_costs(), scores, checkpoint, report)


def _finish(
    experiment: Experiment,
    verb: Verb,
    folder: RunFolder,
    costs: ConversionReport | None,
    scores: list[Score],
    checkpoint: Checkpoint | None,
    report: Report,
) -> ExperimentResult:
    """Train, from a checkpoint where there is one, and save and score what came of it."""
    if experiment.original.module not in (experiment.student.module, experiment.teacher and experiment.teacher.module):
        # It has been scored, and only takes the memory of the device from here on.
        experiment.original.module.cpu()
    is_first = experiment.processes.is_first
    fitted = _fit(experiment, folder.path, checkpoint, report)
    _warn_of_skipped(experiment, report)
    if is_first:
        _save(experiment, fitted, folder)
    network = "fine-tuned" if verb is Verb.FINETUNE else "trained"
    final = [
        _score(experiment, experiment.student.module, name, name, network, folder, report)
        for name in experiment.recipe.evaluate.splits
    ]
    if is_first:
        write_report(folder.path)
        folder.close()
    return ExperimentResult(folder.path, experiment.student.plan, costs, fitted, (*scores, *final))


def _measure_costs(experiment: Experiment, folder: RunFolder, report: Report) -> ConversionReport | None:
    """Time the network before and after its conversion, and write ``conversion.json``."""
    plan = experiment.student.plan
    if not experiment.is_converted or plan is None:
        return None
    images = example_images(experiment.student.preprocessing, experiment.compute)
    networks = (experiment.original.module, experiment.student.module)
    measured = report_costs(*networks, plan, images, experiment.compute, experiment.runtime, report)
    costs = dataclasses.replace(measured, trials=experiment.trials)
    folder.write_costs(costs)
    return costs


def _score_teacher(experiment: Experiment, folder: RunFolder, report: Report) -> list[Score]:
    """Score the teacher on val, so that a stale one is seen before it costs a training."""
    distill = experiment.recipe.distill
    if experiment.teacher is None or distill is None or distill.logits == 0:
        return []
    module = experiment.compute.place_module(experiment.teacher.module)
    score = _score(experiment, module, SplitName.VAL, "val-teacher", BEFORE["val-teacher"], folder, report)
    main = score.metrics.layout.main
    value = main.value_in(score.metrics)
    report(Note(f"teacher: {main.label} {main.with_unit(value)} on val"))
    if value * main.points < LOW_TEACHER_POINTS:
        report(
            Warn(
                f"teacher: {main.label} of {main.with_unit(value)} on val is low, and a weak teacher makes the student "
                "worse than labels alone. Fine-tune it on this data first, or lower distill.logits."
            )
        )
    return [score]


def _score_before(experiment: Experiment, folder: RunFolder, report: Report) -> list[Score]:
    """Score on test what training starts from: the original, and the converted network untrained."""
    if not experiment.knows_task or SplitName.TEST not in experiment.recipe.evaluate.splits:
        return []
    starts = {"test-original": experiment.original}
    if experiment.is_converted:
        starts["test-converted"] = experiment.student
    return [
        _score(experiment, network.module, SplitName.TEST, slot, BEFORE[slot], folder, report)
        for slot, network in starts.items()
    ]


def _fit(experiment: Experiment, folder: Path, checkpoint: Checkpoint | None, report: Report) -> FitResult:
    def validate(module: nn.Module) -> Mapping[str, float]:
        watched = _evaluate(experiment, module, SplitName.VAL, experiment.compute, report).monitored
        return {f"val/{name}": value for name, value in watched.items()}

    return fit(
        experiment.training_setup,
        experiment.loaders.train,
        validate=validate,
        folder=folder,
        resume=checkpoint,
        report=report,
    )


def _warn_of_skipped(experiment: Experiment, report: Report) -> None:
    """Say how many images training left out; an evaluation counts its own."""
    found = experiment.processes.gather(experiment.loaders.train.skipped)
    if skipped := frozenset().union(*found):
        count = f"{len(skipped):,} of {len(experiment.splits.train):,}"
        report(
            Warn(f"data: {count} images of the train split cannot be read and were left out, such as {min(skipped)!r}")
        )


def _evaluate(
    experiment: Experiment, module: nn.Module, name: SplitName, compute: Compute, report: Report
) -> Evaluation:
    split = experiment.splits.get(name)
    return evaluate(
        module,
        experiment.loaders.evaluation[name],
        split,
        compute=compute,
        task=experiment.settings.task,
        processes=experiment.processes,
        report=report,
    )


def _score(
    experiment: Experiment,
    module: nn.Module,
    name: SplitName,
    slot: str,
    network: str,
    folder: RunFolder,
    report: Report,
) -> Score:
    # In the parameters' own format, as `dsft evaluate` will score them again.
    exact = dataclasses.replace(experiment.compute, amp_dtype=None)
    evaluation = _evaluate(experiment, module, name, exact, report)
    if experiment.processes.is_first:
        folder.write_evaluation(slot, evaluation, experiment.splits.get(name))
    report(Scored(slot, _figures(evaluation.metrics)))
    return Score(slot, network, evaluation.metrics)


def _figures(metrics: Metrics) -> dict[str, float]:
    """Return the metrics of the whole split that are single numbers."""
    return {name: value for name, value in metrics.to_dict().items() if isinstance(value, int | float)}


def _save(experiment: Experiment, fitted: FitResult, folder: RunFolder) -> None:
    student: Network = experiment.student
    splits = experiment.splits
    trainings = (*experiment.earlier, record_training(experiment.recipe.data, splits))
    description = student.describe(splits.classes, fitted.weights, provenance(trainings))
    # A run that was killed in its last evaluation saves the same again.
    save_model(folder.path / "model", student.module, description, overwrite=True)
