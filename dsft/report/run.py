"""The page of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dsft.choices import Decision
from dsft.conversion import ConversionPlan
from dsft.number_format import plural
from dsft.report.curves import plot_losses, plot_scores
from dsft.report.deployment import deployment_table
from dsft.report.finished_run import NETWORKS_BEFORE_TRAINING, Run, read_run
from dsft.report.layers import plot_layers
from dsft.report.page import PAGE_FILE, Picture, embed, write_page
from dsft.report.run_facts import commands, environment, kept_epochs, key_figures, setup, summary
from dsft.report.run_tables import costs_table, epochs_table, layers_table
from dsft.report.sections import EvaluationPart, describe_evaluation, scores_table
from dsft.runtimes import MeasuredOn
from dsft.tasks import task_named


def write_report(folder: Path) -> Path:
    """Plot the epochs and the layers of a finished run, and write its page, ``report.html``.

    Everything comes from the run's own files, so the page can be written again at any time.

    Args:
        folder: The run's folder.

    Returns:
        The path of the page.

    Raises:
        InputError: It is not the folder of a finished run.
    """
    run = read_run(folder)
    _plot(run)
    conversion, plan = run.conversion, run.manifest["plan"]
    scored = [(run.name_of(slot), metrics) for slot, metrics in run.metrics.items()]
    write_page(
        folder / PAGE_FILE,
        "run.html",
        title=run.recipe.name,
        summary=summary(run),
        cards=key_figures(run),
        facts=setup(run),
        scores=scores_table("Scores of all networks", scored, run.latencies, run.kind),
        costs=costs_table(conversion) if conversion is not None else None,
        circumstances=MeasuredOn(**conversion["measured_on"]).sentence() if conversion is not None else "",
        deployment=deployment_table(folder, task_named(run.recipe.task)),
        curves=_curves(run),
        epochs=epochs_table(run.history),
        layers=_layers(run),
        layer_table=layers_table(conversion, ConversionPlan.from_dict(plan)) if conversion is not None else None,
        evaluations=_evaluations(run),
        commands=commands(run),
        circumstances_of_run=environment(run),
        recipe=(folder / "recipe.yaml").read_text(encoding="utf-8").rstrip(),
    )
    return folder / PAGE_FILE


def _plot(run: Run) -> None:
    plots, best = run.folder / "plots", int(run.best["epoch"])
    plot_losses(run.history, plots / "losses.png", best, is_comparable=run.has_plain_loss)
    plot_scores(run.history, plots / "scores.png", task_named(run.recipe.task).scorer.layout.main, best)
    if run.conversion is not None and run.conversion["layers"]:
        plot_layers(run.conversion["layers"], plots / "layers.png")


def _curves(run: Run) -> list[Picture]:
    plots, first, last = run.folder / "plots", run.history[0], run.history[-1]
    main, monitor = task_named(run.recipe.task).scorer.layout.main, run.recipe.evaluate.monitor
    after = plural(len(run.history), "epoch")
    found = (
        embed(
            plots / "losses.png",
            "Training and validation loss by epoch",
            f"The training loss is {first['train_loss']:.4g} after the first epoch and {last['train_loss']:.4g} after "
            f"{after}{_validation_loss(first, last)}.",
        ),
        embed(
            plots / "scores.png",
            f"Validation {main.label} and learning rate by epoch",
            f"Curves over {after}. The weights are those of {kept_epochs(run)}, with {monitor} = "
            f"{run.best[monitor]:.4g}.",
        ),
    )
    return [picture for picture in found if picture is not None]


def _validation_loss(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """Return the rest of the sentence on the losses; detectors compute no loss in evaluation mode."""
    return f"; the validation loss {first['val/loss']:.4g} and {last['val/loss']:.4g}" if "val/loss" in first else ""


def _layers(run: Run) -> Picture | None:
    layers = run.conversion["layers"] if run.conversion is not None else []
    converted = sum(layer["decision"] == Decision.CONVERTED for layer in layers)
    return embed(
        run.folder / "plots" / "layers.png",
        "MACs, time and relative error of each convolution",
        f"Bars of the MACs and the time of {plural(len(layers), 'convolution')} before and after the conversion, "
        f"{converted} of them converted, and their relative errors; the table below has the numbers.",
        is_wide=True,
    )


def _evaluations(run: Run) -> list[EvaluationPart]:
    """Describe the evaluations of the trained network, test first."""
    slots = sorted((slot for slot in run.metrics if slot not in NETWORKS_BEFORE_TRAINING), key=lambda s: s != "test")
    return [
        describe_evaluation(run.folder / "evaluation" / slot, f"The {run.name_of(slot)} network on {slot}", run.kind)
        for slot in slots
    ]
