"""``dsft train`` and ``dsft finetune``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from dsft.choices import ProgressMode, Start
from dsft.cli.app import app
from dsft.cli.options import BuilderOption, DryRun, Json, Overrides, Overwrite, Progress, RecipeArgument, Resume
from dsft.cli.session import hidden_progress, joined_processes, read_recipe, reporting_errors, shown_progress
from dsft.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dsft.commands.experiment import ExperimentResult
    from dsft.recipe import Recipe


@app.command()
@reporting_errors
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    builder: BuilderOption = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Train from random weights, dense or separable."""
    start = _start(overwrite, resume, dry_run)
    _run("train", lambda: read_recipe(recipe, overrides, builder), start, as_json, progress)


@app.command()
@reporting_errors
def finetune(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    builder: BuilderOption = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    resume: Resume = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Load weights, optionally convert, fine-tune and evaluate: the main command."""
    start = _start(overwrite, resume, dry_run)
    _run("finetune", lambda: read_recipe(recipe, overrides, builder), start, as_json, progress)


def _start(overwrite: bool, resume: bool, dry_run: bool) -> Start:
    if resume and (overwrite or dry_run):
        other = "--overwrite" if overwrite else "--dry-run"
        raise InputError(f"--resume: cannot be combined with {other}. Give one of the two.")
    if dry_run:
        return Start.DRY_RUN
    return Start.RESUME if resume else Start.OVERWRITE if overwrite else Start.NEW


def _run(
    verb: Literal["train", "finetune"],
    load: Callable[[], Recipe],
    start: Start,
    as_json: bool,
    progress: ProgressMode | None,
) -> None:
    # A process that finds an error in the recipe must tell the others, so it joins them first.
    with joined_processes() as processes:
        recipe = load()
        is_shown = processes is None or processes.is_first
        with shown_progress(progress, recipe) if is_shown else hidden_progress() as report:
            from dsft.assembly import Verb
            from dsft.commands import experiment
            from dsft.distributed.processes import ALONE

            result = experiment.run(recipe, Verb(verb), start=start, processes=processes or ALONE, report=report)
        if is_shown:
            _show_experiment(result, as_json)


def _show_experiment(result: ExperimentResult, as_json: bool) -> None:
    from dsft.console import (
        circumstances,
        costs_table,
        metrics_table,
        per_class_table,
        plan_table,
        print_json,
        print_result,
        verdict_lines,
    )

    if as_json:
        print_json(result.to_dict())
        return
    shown: list[RenderableType] = []
    if result.plan is not None and result.fit is None:
        shown.append(plan_table(result.plan))
    if result.costs is not None:
        shown += [costs_table(result.costs), circumstances(result.costs.measured_on)]
    if result.scores:
        if result.scores[-1].metrics.per_class:
            shown.append(per_class_table(result.scores[-1].metrics, result.kind))
        rows = [(score.network, score.metrics) for score in result.scores]
        shown.append(metrics_table(rows, latencies=result.latencies, kind=result.kind))
    if result.verdict is not None:
        shown.append(verdict_lines(result.verdict))
    if result.folder is not None:
        shown.append(f"run folder: {result.folder}\npage: {result.folder / 'report.html'}")
    print_result(*shown)
