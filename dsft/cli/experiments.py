"""``dsft train`` and ``dsft finetune``."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

from dsft.choices import ProgressMode
from dsft.cli.app import app
from dsft.cli.options import BuilderOption, DryRun, Json, Overrides, Overwrite, Progress, RecipeArgument, Resume
from dsft.cli.session import joined_processes, read_recipe, reporting_errors, shown_progress
from dsft.errors import InputError
from dsft.progress import ignore

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dsft.commands.experiment import ExperimentResult


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
    _run_recipe("train", recipe, overrides, builder, dry_run, overwrite, resume, as_json, progress)


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
    """Load weights, optionally convert, fine-tune, evaluate: the main job."""
    _run_recipe("finetune", recipe, overrides, builder, dry_run, overwrite, resume, as_json, progress)


def _run_recipe(
    verb: Literal["train", "finetune"],
    recipe: str,
    overrides: list[str] | None,
    builder: str | None,
    dry_run: bool,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    progress: ProgressMode | None,
) -> None:
    if resume and (overwrite or dry_run):
        raise InputError(
            f"--resume: goes without {'--overwrite' if overwrite else '--dry-run'}; choose one of the two."
        )
    with joined_processes() as processes:
        loaded = read_recipe(recipe, overrides, builder)
        is_shown = processes is None or processes.is_first
        with shown_progress(progress, loaded) if is_shown else nullcontext(ignore) as report:
            from dsft.assembly import Verb
            from dsft.commands import experiment
            from dsft.distributed.processes import ALONE

            result = experiment.run(
                loaded,
                Verb(verb),
                overwrite=overwrite,
                resume=resume,
                dry_run=dry_run,
                processes=processes or ALONE,
                report=report,
            )
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
        shown.append(per_class_table(result.scores[-1].metrics))
        shown.append(metrics_table([(score.network, score.metrics) for score in result.scores]))
    if result.folder is not None:
        shown.append(f"run folder: {result.folder}\npage: {result.folder / 'report.html'}")
    print_result(*shown)
