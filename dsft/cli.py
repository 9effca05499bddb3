"""The command line: parse, call one command, show its result.

A command is imported inside the function that needs it, so that ``--help`` loads no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec

import typer

from dsft.choices import Method, Order, ProgressMode, SplitName
from dsft.errors import DsftError, RecipeError

if TYPE_CHECKING:
    from dsft.commands.experiment import ExperimentResult
    from dsft.progress import Report
    from dsft.recipe import Recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune pretrained CNNs as depthwise-separable networks that keep their weights.",
)
recipes_app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")
app.add_typer(recipes_app, name="recipes")

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes: section.key=value sets, ~section.key removes."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier output of this command.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Build and check everything, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Progress = Annotated[
    ProgressMode | None, typer.Option("--progress", help="How progress is shown.", show_default="auto")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]

_state = {"debug": False}
P = ParamSpec("P")


def _reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Have a command show an error as one message and leave with its exit code; ``--debug`` keeps the traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        exit_code = 0
        try:
            command(*args, **kwargs)
        except (typer.Exit, BrokenPipeError):
            raise
        except Exception as error:
            if _state["debug"]:
                raise
            exit_code = _tell(error)
        if exit_code:
            # Out here the traceback is gone, and with it what it kept: the processes that read images.
            raise typer.Exit(exit_code)

    return run


def _tell(error: Exception) -> int:
    """Print an error and return its exit code."""
    from dsft.console import print_error

    if isinstance(error, OSError):
        error = DsftError(f"the system refused: {error}")
    elif not isinstance(error, DsftError):
        error = DsftError(
            f"unforeseen {type(error).__name__}: {error}. This is a fault of dsft: please report it, with what "
            "dsft --debug says when it is run again."
        )
    print_error(error)
    return error.exit_code


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        from dsft.console import print_result

        print_result(importlib.metadata.version("dsft"))
        raise typer.Exit


# Eager, so that it works where no command follows.
Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and leave.")
]


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Version = False,  # noqa: ARG001 (its callback does it)
) -> None:
    _state["debug"] = debug


@app.command()
@_reporting_errors
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Train from random weights, dense or separable."""
    _run_recipe("train", recipe, overrides, dry_run, overwrite, as_json, progress)


@app.command()
@_reporting_errors
def finetune(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Load weights, optionally convert, fine-tune, evaluate: the main job."""
    _run_recipe("finetune", recipe, overrides, dry_run, overwrite, as_json, progress)


@app.command()
@_reporting_errors
def convert(
    source: Annotated[str, typer.Argument(help="timm/NAME, torchvision/NAME, a model folder or a weights file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The new model folder.")] = None,
    budget: Annotated[str | None, typer.Option(help="What may be left of the cost, as macs=0.4.")] = None,
    rank: Annotated[str | None, typer.Option(help="Depthwise kernels of each channel, or 'full'.")] = None,
    method: Annotated[Method, typer.Option(help="How the weights are derived.")] = Method.AUTO,
    order: Annotated[Order, typer.Option(help="Which convolution comes first; auto is dw_pw.")] = Order.AUTO,
    include: Annotated[list[str] | None, typer.Option(help="Pattern of layers to convert; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Pattern of layers to keep; repeatable.")] = None,
    model: Annotated[str | None, typer.Option(help="timm/NAME or torchvision/NAME of a weights file.")] = None,
    image_size: Annotated[int | None, typer.Option(min=8, help="Side of the images in pixels.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the method fresh.")] = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Convert a checkpoint to depthwise-separable convolutions; no training."""
    if out is None and not dry_run:
        raise RecipeError("--out: a folder for the converted model is needed, or --dry-run to plan only.")
    share, ranks = _macs_share(budget), _rank(rank)
    with _progress(progress, None) as report:
        from dsft.commands import convert as command

        result = command.run(
            source,
            None if dry_run else out,
            budget=share,
            rank=ranks,
            method=method,
            order=order,
            include=include or ["*"],
            exclude=exclude or [],
            model=model,
            image_size=image_size,
            seed=seed,
            device=device,
            overwrite=overwrite,
            report=report,
        )
    from dsft.console import circumstances, costs_table, plan_table, print_json, print_result

    if as_json:
        print_json(result.to_dict())
        return
    print_result(plan_table(result.plan))
    if result.costs is not None:
        print_result(costs_table(result.costs))
        print_result(circumstances(result.costs.measured_on))
        print_result(f"model folder: {result.folder}")


@app.command()
@_reporting_errors
def evaluate(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Model folders, or folders of runs.")],
    data: Annotated[str | None, typer.Option(help="A recipe or a folder; else the data that the model names.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change of the recipe, key=value.")] = None,
    split: Annotated[SplitName, typer.Option(help="The split to score.")] = SplitName.TEST,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics, tables and pictures.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Print the scores of every class.")] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: Progress = None,
) -> None:
    """Score models on held-out data, side by side, with what they cost."""
    with _progress(progress, None) as report:
        from dsft.commands import evaluate as command

        result = command.run(
            models,
            data=data,
            overrides=overrides or [],
            split=split,
            out=out,
            device=device,
            overwrite=overwrite,
            report=report,
        )
    from dsft.console import (
        ModelRow,
        circumstances,
        comparison_table,
        metrics_table,
        per_class_table,
        print_json,
        print_result,
    )

    if as_json:
        print_json(result.to_dict())
        return
    print_result(metrics_table([(row.model, row.metrics) for row in result.models]))
    for row in result.models if per_class or len(models) == 1 else ():
        print_result(per_class_table(row.metrics))
    rows = [ModelRow(row.model, row.metrics, row.params, row.macs, row.latency_ms) for row in result.models]
    print_result(comparison_table(rows))
    print_result(circumstances(result.measured_on))


@recipes_app.command("ls")
@_reporting_errors
def recipes_ls() -> None:
    """List the shipped recipes."""
    from dsft.commands import recipes
    from dsft.console import build_table, print_result

    rows = [[f"dsft {recipe.verb} {recipe.name}", recipe.summary] for recipe in recipes.listing()]
    print_result(build_table(["command", "what it does"], rows))


@recipes_app.command("show")
@_reporting_errors
def recipes_show(name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")]) -> None:
    """Print a shipped recipe with its comments."""
    from dsft.commands import recipes
    from dsft.console import print_result

    print_result(recipes.text(name).rstrip("\n"))


@recipes_app.command("cp")
@_reporting_errors
def recipes_cp(
    name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")],
    target: Annotated[Path | None, typer.Argument(help="File or folder; the current folder by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Copy a shipped recipe, to change it."""
    from dsft.commands import recipes
    from dsft.console import print_result

    print_result(str(recipes.copy(name, target, overwrite=overwrite)))


@recipes_app.command("check")
@_reporting_errors
def recipes_check(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Check a recipe and print it resolved, or everything that is wrong with it."""
    from dsft.commands import recipes
    from dsft.console import print_result
    from dsft.recipe import dump_recipe

    print_result(dump_recipe(recipes.check(recipe, overrides or [])).rstrip("\n"))


@recipes_app.command("schema")
@_reporting_errors
def recipes_schema(as_json: Json = False) -> None:
    """Print every key of a recipe: as Markdown, or as JSON Schema for editors."""
    from dsft.console import print_json, print_result
    from dsft.recipe import json_schema, recipe_reference

    if as_json:
        print_json(json_schema())
    else:
        print_result(recipe_reference().rstrip("\n"))


@contextmanager
def _progress(mode: ProgressMode | None, recipe: Recipe | None) -> Iterator[Report]:
    """Show progress as the flag says, else as the recipe says; a run's folder gets a log of it too."""
    from dsft.console import show_progress, write_log

    chosen = mode or (recipe.log.progress if recipe is not None else ProgressMode.AUTO)
    with show_progress(chosen) as show, write_log() as log:

        def report(event: Any) -> None:
            show(event)
            log(event)

        yield report


def _run_recipe(
    verb: Literal["train", "finetune"],
    recipe: str,
    overrides: list[str] | None,
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
    progress: ProgressMode | None,
) -> None:
    loaded = _load(recipe, overrides)
    with _progress(progress, loaded) as report:
        from dsft.assembly import Verb
        from dsft.commands import experiment

        result = experiment.run(loaded, Verb(verb), overwrite=overwrite, dry_run=dry_run, report=report)
    _show_experiment(result, as_json)


def _load(reference: str, overrides: list[str] | None) -> Recipe:
    from dsft.recipe import load_recipe

    return load_recipe(reference, overrides or [])


def _macs_share(budget: str | None) -> float | None:
    """Read ``macs=0.4``."""
    if budget is None:
        return None
    cost, _, share = budget.partition("=")
    if cost != "macs" or not _is_number(share):
        raise RecipeError(f"--budget: expected macs=SHARE, such as macs=0.4, found {budget!r}.")
    return float(share)


def _rank(rank: str | None) -> int | Literal["full"] | None:
    """Read a whole number, or ``full``."""
    if rank is None:
        return None
    if rank == "full":
        return "full"
    if not rank.isdecimal():
        raise RecipeError(f"--rank: expected a whole number of at least 1, or full, found {rank!r}.")
    return int(rank)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
    if result.plan is not None and result.fit is None:
        print_result(plan_table(result.plan))
    if result.costs is not None:
        print_result(costs_table(result.costs))
        print_result(circumstances(result.costs.measured_on))
    if result.scores:
        print_result(per_class_table(result.scores[-1].metrics))
        print_result(metrics_table([(score.network, score.metrics) for score in result.scores]))
    if result.folder is not None:
        print_result(f"run folder: {result.folder}")
