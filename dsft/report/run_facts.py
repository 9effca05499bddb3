"""What a page says about a run: key figures, setup and how to reproduce it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dsft.choices import Decision, ModelSource
from dsft.number_format import count, plural
from dsft.preprocessing import read_preprocessing
from dsft.recipe import Recipe
from dsft.report.finished_run import Run
from dsft.report.sections import Values, command_line, versions_text
from dsft.tasks import task_named


@dataclass(frozen=True)
class Card:
    """A key figure: its label, the figure in large type, and a note below it."""

    label: str
    figure: str
    note: str


def key_figures(run: Run) -> list[Card]:
    """Return the figures at the top of the page: score, difference from the original, and costs."""
    return [*_scores(run), *(_costs(run.conversion) if run.conversion is not None else [])]


def _scores(run: Run) -> Iterator[Card]:
    slot = "test" if "test" in run.metrics else "val"
    metrics = run.metrics.get(slot)
    if metrics is None:
        return
    layout = task_named(run.recipe.task).scorer.layout
    main, interval = layout.main, f"95 % CI {layout.format_interval(metrics[layout.interval], ' to ')}"
    yield Card(f"{main.label} on {slot}", main.with_unit(metrics[main.name]), interval)
    if (original := run.metrics.get(f"{slot}-original")) is not None:
        difference = main.points * (metrics[main.name] - original[main.name])
        yield Card(
            "difference from original",
            f"{difference:+.2f}",
            f"{main.difference_unit} from {main.with_unit(original[main.name])}",
        )


def _costs(conversion: Values) -> Iterator[Card]:
    before, after = conversion["original"], conversion["converted"]
    for name, label in (("macs", "MACs"), ("params", "parameters")):
        yield Card(label, f"x {after[name] / before[name]:.3f}", f"{count(before[name])} → {count(after[name])}")
    yield Card(
        "latency",
        f"x {after['latency_ms'] / before['latency_ms']:.3f}",
        f"{before['latency_ms']:.2f} → {after['latency_ms']:.2f} ms",
    )


def summary(run: Run) -> str:
    """Return one sentence about the run, and one about held-out data."""
    trained = "trained from random weights" if run.verb == "train" else "fine-tuned"
    text = f"converted to depthwise-separable convolutions and {trained}" if run.recipe.convert is not None else trained
    return f"{network_name(run)}, {text}. The test split was used for neither training nor model selection."


def network_name(run: Run) -> str:
    """Return the name of the network, such as ``timm/resnet18``, whether it comes from a library or a model folder."""
    source = run.manifest["source"]
    return "Own network" if source is None else f"{source['source']}/{source['name']}"


def setup(run: Run) -> list[tuple[str, str]]:
    """Return network, images, conversion and training in words."""
    recipe = run.recipe
    sizes = ", ".join(f"{split['images']:,} {name}" for name, split in run.about["data"].items())
    facts = [
        ("network", f"{network_name(run)}, {_origin(run)}"),
        ("input", _input(run.manifest["preprocessing"])),
        (
            run.kind.plural,
            f"{sizes}; {plural(len(run.classes), 'class')} ({recipe.data.source.value})",
        ),
    ]
    if run.conversion is not None and recipe.convert is not None:
        layers = run.conversion["layers"]
        converted = sum(layer["decision"] == Decision.CONVERTED for layer in layers)
        facts.append(("conversion", f"{converted} of {plural(len(layers), 'convolution')}; {_settings(recipe)}"))
    rate = f"learning rate {recipe.optim.lr:g}, {recipe.schedule.sched} schedule"
    epochs = plural(recipe.schedule.epochs, "epoch")
    facts.append(("training", f"{len(run.history)} of {epochs} with {recipe.optim.opt}, {rate}"))
    if recipe.distill is not None:
        teacher = recipe.distill.teacher
        facts.append(("teacher", "the original network" if teacher == "original" else teacher))
    monitor, best = recipe.evaluate.monitor, run.best
    facts.append(("weights", f"{kept_epochs(run)}, selected by {monitor} = {best[monitor]:.4g}"))
    return facts


def kept_epochs(run: Run) -> str:
    """Return which epochs the weights are of."""
    epochs = [f"{values['epoch']:.0f}" for values in run.kept]
    return f"mean of epochs {', '.join(epochs)}" if len(epochs) > 1 else f"epoch {epochs[0]}"


def _origin(run: Run) -> str:
    model = run.recipe.model
    if model.source is ModelSource.DSFT:
        return f"weights from {model.path}"
    if model.pretrained:
        return "pretrained weights"
    return f"weights from {model.checkpoint}" if model.checkpoint is not None else "randomly initialized"


def _input(preprocessing: Values | None) -> str:
    if preprocessing is None:
        return "unknown"
    return read_preprocessing(preprocessing).description


def _settings(recipe: Recipe) -> str:
    """Return the settings of the conversion that are not the defaults, in the recipe's words."""
    given = recipe.convert.model_dump(mode="json", exclude_defaults=True) if recipe.convert is not None else {}
    return ", ".join(f"{key}: {_plain(value)}" for key, value in given.items()) or "default settings"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items() if part is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def commands(run: Run) -> str:
    """Return the commands that ran, and those that reproduce the run and its page."""
    folder = run.folder.as_posix()
    quoted = shlex.quote(folder)
    lines = [
        ("# how it was started", command_line(run.about["command"])),
        *(("# how it was resumed", command_line(each)) for each in run.about.get("resumed", [])),
        (
            "# run the resolved recipe again, with output to another folder",
            f"dsft {run.verb} {shlex.quote(f'{folder}/recipe.yaml')} output.dir=again",
        ),
        ("# evaluate the model again", f"dsft evaluate {quoted}"),
        ("# write this page again", f"dsft report {quoted}"),
    ]
    return "\n".join(f"{comment}\n{command}" for comment, command in lines if command)


def environment(run: Run) -> list[tuple[str, str]]:
    """Return versions, machine, seeds and fingerprints of the splits."""
    about = run.about
    seeds = ", ".join(f"{name} {seed}" for name, seed in about["seeds"].items())
    prints = "; ".join(f"{name} {split['fingerprint'][:16]}…" for name, split in about["data"].items())
    threads = plural(about["threads"], "thread")
    return [
        ("versions", versions_text(about["versions"])),
        ("machine", f"{about['platform']}, device {about['device']}, {threads}"),
        ("seeds", seeds),
        ("splits (SHA-256)", prints),
    ]
