"""The verdict on the conversion of a run: the fine-tuned network beside the original, on val."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsft.assembly import Experiment, Verb
from dsft.assembly.conversion import read_request
from dsft.assembly.val_score import NotScored, Scores
from dsft.assembly.verdict import KEYS, Verdict, reach_verdict
from dsft.choices import InputKind, SplitName
from dsft.commands.run_scores import RunScores, Score
from dsft.conversion import ConversionReport
from dsft.progress import Report


@dataclass(frozen=True)
class BeforeTraining:
    """What a run measures before the training.

    Attributes:
        scores: The evaluations.
        costs: Costs before and after the conversion; None without one, and in all processes but the first.
        original_on_val: The original's main score on val; None if it has none, or the run does not convert.
    """

    scores: Sequence[Score]
    costs: ConversionReport | None = None
    original_on_val: float | None = None


def score_original(scores: RunScores, before: Sequence[Score]) -> float | None:
    """Return the main score of the original on val; None if the run does not convert, or the original knows no task.

    All processes of the run take part.

    Args:
        scores: Scores the networks of the run.
        before: The evaluations before the training, in which a teacher that is the original has been scored on val.
    """
    recipe, networks = scores.experiment.recipe, scores.experiment.networks
    if recipe.convert is None or not networks.knows_task:
        return None
    is_teacher = recipe.distill is not None and recipe.distill.teacher == "original"
    metrics = next((score.metrics for score in before if is_teacher and score.slot == "val-teacher"), None)
    if metrics is None:
        metrics = scores.evaluate_exactly(networks.original.module, SplitName.VAL).metrics
    return metrics.layout.main.value_in(metrics)


def unfinished_verdict(costs: ConversionReport, original_on_val: float | None) -> Mapping[str, Any]:
    """Return the verdict in ``conversion.json`` until the run has finished; a resumed run reads the score there."""
    pending = Verdict.of(costs, NotScored("the run has not finished."))
    return {**pending.to_dict(), "score_before": original_on_val}


def judge_run(
    experiment: Experiment, verb: Verb, before: BeforeTraining, after: Sequence[Score], report: Report
) -> Verdict | None:
    """Compare the trained network with the original, and warn if it is slower or much worse.

    Args:
        experiment: The run.
        verb: Whether it started from existing weights.
        before: What was measured before the training.
        after: The evaluations of the trained network.
        report: Receives the warnings.

    Returns:
        The verdict; None if the run does not convert.
    """
    section, plan = experiment.recipe.convert, experiment.networks.student.plan
    if section is None or plan is None or before.costs is None:
        return None
    request = read_request(section, experiment.recipe.train.seed, is_trained=verb is Verb.FINETUNE)
    scores = _scores(before.original_on_val, after, experiment.data.splits.val.input_kind)
    return reach_verdict(before.costs, scores, request, plan.method, report, wording=KEYS, is_tuned=True)


def _scores(score_before: float | None, after: Sequence[Score], kind: InputKind) -> Scores | NotScored:
    if score_before is None:
        return NotScored("the original was not trained on the classes of the data.")
    metrics = next((score.metrics for score in after if score.slot == SplitName.VAL), None)
    if metrics is None:
        return NotScored("the trained network is not scored on val. Add val to evaluate.splits.")
    metric = metrics.layout.main
    count, score = metrics.count, metric.value_in(metrics)
    return Scores(SplitName.VAL, count, count, metric, score_before, score, kind)
