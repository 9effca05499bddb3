"""The page of a training run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsft.choices import Decision, ModelSource
from dsft.errors import InputError
from dsft.number_format import count
from dsft.recipe import Recipe, load_recipe
from dsft.report.curves import plot_curves
from dsft.report.layers import plot_layers
from dsft.report.page import NOTHING, Cell, Table, embed, number, write_page
from dsft.report.sections import (
    EvaluationPart,
    Values,
    command_line,
    describe_evaluation,
    read_json,
    scores_table,
    versions_text,
)
from dsft.runtimes import MeasuredOn
from dsft.tasks import task_named

PAGE_FILE = "report.html"

BEFORE = {"val-teacher": "teacher", "test-original": "original", "test-converted": "converted, untrained"}
"""The slots of what is scored before the training, and whose scores they are, in the order of the run."""


@dataclass(frozen=True)
class Run:
    """The files of a finished run.

    Attributes:
        folder: Where they are.
        recipe: What was asked for.
        about: ``run.json``.
        history: ``metrics.jsonl``.
        conversion: ``conversion.json``; None without a conversion.
        metrics: ``metrics.json`` of every slot.
    """

    folder: Path
    recipe: Recipe
    about: Values
    history: Sequence[Mapping[str, float]]
    conversion: Values | None
    metrics: Mapping[str, Values]

    @property
    def verb(self) -> str:
        """The command that such a recipe is for."""
        return "finetune" if self.recipe.model.has_weights else "train"

    @property
    def best(self) -> Mapping[str, float]:
        """The first of the epochs with the best monitored metric."""
        return self.kept[0]

    @property
    def kept(self) -> Sequence[Mapping[str, float]]:
        """The epochs whose weights, or whose mean, were kept: the best first, of equal ones the earlier."""
        monitor = self.recipe.evaluate.monitor
        sign = 1 if monitor.endswith("loss") else -1
        return sorted(self.history, key=lambda values: sign * values[monitor])[: self.recipe.output.keep_best]

    def name_of(self, slot: str) -> str:
        """Return what the network that was scored in a slot is called."""
        return BEFORE.get(slot, "fine-tuned" if self.verb == "finetune" else "trained")


def write_report(folder: Path) -> Path:
    """Draw the curves and the layers of a finished run, and put everything on one page, ``report.html``.

    All of it comes from the run's own files, so it can be made again at any time.

    Args:
        folder: The run's folder.

    Returns:
        The page.

    Raises:
        InputError: It is no folder of a run that has come to its end.
    """
    run = read_run(folder)
    plots = folder / "plots"
    plot_curves(run.history, plots / "curves.png", int(run.best["epoch"]))
    if run.conversion is not None and run.conversion["layers"]:
        plot_layers(run.conversion["layers"], plots / "layers.png")
    conversion = run.conversion
    write_page(
        folder / PAGE_FILE,
        "run.html",
        title=run.recipe.name,
        summary=_summary(run),
        cards=_cards(run),
        facts=_facts(run),
        scores=scores_table("Scores of every network", ((run.name_of(s), m) for s, m in run.metrics.items())),
        costs=_costs(conversion) if conversion is not None else None,
        circumstances=MeasuredOn(**conversion["measured_on"]).sentence() if conversion is not None else "",
        curves=embed(
            plots / "curves.png",
            f"Loss, {task_named(run.recipe.task).layout.main.label} and learning rate over the epochs",
            _curves_in_words(run),
        ),
        epochs=_epochs(run.history),
        layers=embed(
            plots / "layers.png", "Cost, time and error of every convolution", _layers_in_words(run), is_wide=True
        ),
        layer_table=_layer_table(conversion) if conversion is not None else None,
        evaluations=_evaluations(run),
        commands=_commands(run),
        circumstances_of_run=_circumstances(run),
        recipe=(folder / "recipe.yaml").read_text(encoding="utf-8").rstrip(),
    )
    return folder / PAGE_FILE


def read_run(folder: Path) -> Run:
    """Read the files of a finished run.

    Raises:
        InputError: It is no folder of a run that has come to its end.
    """
    needed = ["recipe.yaml", "run.json", "splits.json", "metrics.jsonl", "model/manifest.json"]
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise InputError(
            f"run folder {str(folder)!r}: a run that has come to its end is needed, and {missing[0]} is missing. Give "
            "the output folder of dsft train or dsft finetune."
        )
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    conversion = folder / "conversion.json"
    slots = {path.parent.name: read_json(path) for path in sorted((folder / "evaluation").glob("*/metrics.json"))}
    order = [*(slot for slot in BEFORE if slot in slots), *(slot for slot in slots if slot not in BEFORE)]
    return Run(
        folder,
        load_recipe(str(folder / "recipe.yaml")),
        read_json(folder / "run.json"),
        [json.loads(line) for line in lines],
        read_json(conversion) if conversion.is_file() else None,
        {slot: slots[slot] for slot in order},
    )


@dataclass(frozen=True)
class _Card:
    label: str
    figure: str
    note: str


def _cards(run: Run) -> list[_Card]:
    """The figures that someone who has ten seconds looks at."""
    cards = []
    slot = "test" if "test" in run.metrics else "val"
    if (metrics := run.metrics.get(slot)) is not None:
        layout = task_named(run.recipe.task).layout
        main, interval = layout.main, f"95 % CI {layout.show_interval(metrics[layout.interval], ' to ')}"
        cards.append(_Card(f"{main.label} on {slot}", main.words(metrics[main.name]), interval))
        if (original := run.metrics.get(f"{slot}-original")) is not None:
            lost = main.points * (metrics[main.name] - original[main.name])
            had = f"points; it has {main.words(original[main.name])}"
            cards.append(_Card("against the original", f"{lost:+.2f}", had))
    if run.conversion is not None:
        before, after = run.conversion["original"], run.conversion["converted"]
        cards += [
            _Card(
                "MACs", f"x {after['macs'] / before['macs']:.3f}", f"{count(before['macs'])} → {count(after['macs'])}"
            ),
            _Card(
                "parameters",
                f"x {after['params'] / before['params']:.3f}",
                f"{count(before['params'])} → {count(after['params'])}",
            ),
            _Card(
                "latency",
                f"x {after['latency_ms'] / before['latency_ms']:.3f}",
                f"{before['latency_ms']:.2f} → {after['latency_ms']:.2f} ms",
            ),
        ]
    return cards


def _summary(run: Run) -> str:
    trained = "trained from random weights" if run.verb == "train" else "fine-tuned"
    text = f"converted to depthwise-separable convolutions and {trained}" if run.recipe.convert is not None else trained
    return f"{text[0].upper()}{text[1:]}. No image of test has trained the weights or chosen them."


def _facts(run: Run) -> list[tuple[str, str]]:
    recipe = run.recipe
    images = ", ".join(f"{split['images']:,} {name}" for name, split in run.about["data"].items())
    classes = len(read_json(run.folder / "splits.json")["classes"])
    facts = [("network", _network(run)), ("images", f"{images} of {classes:,} classes ({recipe.data.source.value})")]
    if run.conversion is not None and recipe.convert is not None:
        layers = run.conversion["layers"]
        converted = sum(layer["decision"] == Decision.CONVERTED for layer in layers)
        facts.append(("conversion", f"{converted} of {len(layers)} convolutions, {_asked(recipe)}"))
    rate = f"learning rate {recipe.optim.lr:g}, {recipe.schedule.sched} schedule"
    facts.append(("training", f"{len(run.history)} of {recipe.schedule.epochs} epochs of {recipe.optim.opt}, {rate}"))
    if recipe.distill is not None:
        facts.append(("teacher", recipe.distill.teacher))
    monitor, best = recipe.evaluate.monitor, run.best
    facts.append(("weights kept", f"{_kept_epochs(run)}, chosen by {monitor} = {best[monitor]:.4g}"))
    return facts


def _kept_epochs(run: Run) -> str:
    epochs = [f"{values['epoch']:.0f}" for values in run.kept]
    return f"the mean of epochs {', '.join(epochs)}" if len(epochs) > 1 else f"epoch {epochs[0]}"


def _network(run: Run) -> str:
    model = run.recipe.model
    if model.source is ModelSource.DSFT:
        return f"from {model.path}"
    if model.source is ModelSource.PYTHON:
        return f"{model.builder}, {model.checkpoint or 'weights as built'}"
    weights = "pretrained" if model.pretrained else model.checkpoint or "random weights"
    return f"{model.source.value}/{model.name}, {weights}"


def _asked(recipe: Recipe) -> str:
    """Say what the conversion was asked for, in the recipe's own words."""
    given = recipe.convert.model_dump(mode="json", exclude_defaults=True) if recipe.convert is not None else {}
    return ", ".join(f"{key}: {_plain(value)}" for key, value in given.items()) or "as by default"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items() if part is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _costs(conversion: Values) -> Table:
    numbers = ["MACs", "MACs ratio", "parameters", "parameters ratio", "latency ms", "latency ratio"]
    first = conversion["original"]
    rows = [
        [
            Cell(name),
            Cell(count(cost["macs"]), cost["macs"]),
            number(cost["macs"] / first["macs"], ".3f"),
            Cell(count(cost["params"]), cost["params"]),
            number(cost["params"] / first["params"], ".3f"),
            number(cost["latency_ms"], ".2f"),
            number(cost["latency_ms"] / first["latency_ms"], ".3f"),
        ]
        for name, cost in (("original", first), ("converted", conversion["converted"]))
    ]
    return Table("Cost for one image", ["network", *numbers], numbers, rows)


def _layer_table(conversion: Values) -> Table:
    numbers = ["kernels", "MACs before", "MACs after", "relative error", "ms before", "ms after"]
    rows = [
        [
            Cell(layer["name"]),
            Cell(layer["decision"]),
            Cell(layer["structure"] or NOTHING),
            number(layer["kernels"], ",d"),
            Cell(count(layer["macs_before"]), layer["macs_before"]),
            Cell(count(layer["macs_after"]), layer["macs_after"]),
            number(layer["relative_error"], ".3f"),
            number(layer["latency_ms_before"], ".3f"),
            number(layer["latency_ms_after"], ".3f"),
            Cell(layer["reason"]),
        ]
        for layer in conversion["layers"]
    ]
    return Table("Every convolution", ["layer", "decision", "structure", *numbers, "why"], numbers, rows)


def _epochs(history: Sequence[Mapping[str, float]]) -> Table:
    columns = list(dict.fromkeys(name for values in history for name in values))
    rows = [[number(values.get(name), ".5g") for name in columns] for values in history]
    return Table("Every epoch", columns, columns, rows)


def _curves_in_words(run: Run) -> str:
    first, last, best, monitor = run.history[0], run.history[-1], run.best, run.recipe.evaluate.monitor
    return (
        f"Over {len(run.history)} epochs the training loss goes from {first['train_loss']:.4g} to "
        f"{last['train_loss']:.4g}; the weights of {_kept_epochs(run)} were kept, with "
        f"{monitor} = {best[monitor]:.4g}."
    )


def _layers_in_words(run: Run) -> str:
    layers = run.conversion["layers"] if run.conversion is not None else []
    converted = [layer for layer in layers if layer["decision"] == Decision.CONVERTED]
    return (
        f"Bars of the MACs and the time of {len(layers)} convolutions before and after, {len(converted)} of them "
        "converted, and the relative error of each; the table below has the figures."
    )


def _evaluations(run: Run) -> list[EvaluationPart]:
    """Describe what the trained network was scored on, test first."""
    slots = sorted((slot for slot in run.metrics if slot not in BEFORE), key=lambda slot: slot != "test")
    return [
        describe_evaluation(run.folder / "evaluation" / slot, f"The {run.name_of(slot)} network on {slot}")
        for slot in slots
    ]


def _commands(run: Run) -> str:
    folder = run.folder.as_posix()
    lines = [
        ("# as it was started", command_line(run.about["command"])),
        *(("# as it went on", command_line(each)) for each in run.about.get("resumed", [])),
        (
            "# the same from the resolved recipe, into another folder",
            f"dsft {run.verb} {folder}/recipe.yaml output.dir=again",
        ),
        ("# score the model again", f"dsft evaluate {folder}"),
        ("# make this page again", f"dsft report {folder}"),
    ]
    return "\n".join(f"{comment}\n{command}" for comment, command in lines if command)


def _circumstances(run: Run) -> list[tuple[str, str]]:
    about = run.about
    seeds = ", ".join(f"{name} {seed}" for name, seed in about["seeds"].items())
    prints = "; ".join(f"{name} {split['fingerprint'][:16]}…" for name, split in about["data"].items())
    return [
        ("versions", versions_text(about["versions"])),
        ("machine", f"{about['platform']}, device {about['device']}, {about['threads']} threads"),
        ("seeds", seeds),
        ("splits (SHA-256)", prints),
    ]
