"""``dsft evaluate``: one or more model folders on held-out data, side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.assembly import Network, load_folder, load_split, open_data, open_splits
from dsft.assembly.experiment import example_images
from dsft.choices import Amp, DataSource, SplitName
from dsft.data import Split, held_out_split
from dsft.devices import Compute, resolve_compute
from dsft.errors import DataError, InputError
from dsft.evaluation import Metrics, evaluate, write_evaluation
from dsft.measure import MeasuredOn, compare_latency, count_macs, count_parameters, measured_on
from dsft.progress import Report, Warn, ignore
from dsft.recipe import load_recipe
from dsft.recipe.sections import DataSection
from dsft.report import plot_confusion
from dsft.storage import require_empty, write_json


@dataclass(frozen=True)
class ModelResult:
    """One model: its scores, and what it costs for one image; ``latency_ms`` was measured in turn with the others."""

    model: str
    metrics: Metrics
    params: int
    macs: int
    latency_ms: float


@dataclass(frozen=True)
class EvaluateResult:
    """All models on the same images."""

    models: tuple[ModelResult, ...]
    measured_on: MeasuredOn
    folder: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        models = [{**vars(model), "metrics": model.metrics.to_dict()} for model in self.models]
        return {"measured_on": self.measured_on.to_dict(), "models": models}


def run(
    models: Sequence[Path],
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    split: SplitName = SplitName.TEST,
    out: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = ignore,
) -> EvaluateResult:
    """Score models on a split and measure what they cost.

    Args:
        models: Model folders, or folders of runs.
        data: A recipe whose data section is used, or a folder of images; None for the data that the first
            model's folder names.
        overrides: Changes to the data, as ``data.root=FOLDER``.
        split: The split to score.
        out: Where the metrics, tables and pictures of each model go; None writes nothing.
        device: Where the models run.
        overwrite: Replace what ``out`` holds.
        report: Receives the progress.

    Raises:
        InputError: A folder, the data or the split is at fault.
    """
    if out is not None:
        require_empty(out, overwrite=overwrite)
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    networks = [load_folder(folder) for folder in models]
    section = _data_section(data, overrides, models[0], networks[0])
    images = _held_out(section, data, split, networks[0], report)
    metrics = [
        _score(folder, network, images, section, compute, out, report)
        for folder, network in zip(models, networks, strict=True)
    ]
    examples = [example_images(network.preprocessing, compute) for network in networks]
    times = compare_latency([network.module for network in networks], examples, compute)
    results = tuple(
        ModelResult(str(folder), scores, count_parameters(network.module), count_macs(network.module, example), time)
        for folder, network, scores, example, time in zip(models, networks, metrics, examples, times, strict=True)
    )
    result = EvaluateResult(results, measured_on(compute, examples[0]), out)
    if out is not None:
        write_json(out / "models.json", result.to_dict())
    return result


def _data_section(data: str | None, overrides: Sequence[str], folder: Path, network: Network) -> DataSection:
    if data is not None and not Path(data).is_dir():
        return load_recipe(data, overrides).data
    if overrides:
        raise InputError(f"overrides {list(overrides)!r}: they change a recipe, so --data must name one.")
    if data is not None:
        return DataSection(source=DataSource.FOLDER, root=data)
    if network.trained_on is None:
        raise DataError(f"model {str(folder)!r}: its folder names no data. Say which with --data RECIPE or FOLDER.")
    return DataSection.model_validate_json(json.dumps(network.trained_on))


def _held_out(section: DataSection, data: str | None, name: SplitName, network: Network, report: Report) -> Split:
    """Open the split; a plain folder of classes is a split by itself."""
    sources = open_data(section, report) if data is not None and Path(data).is_dir() else {}
    if list(sources) == [SplitName.TRAIN]:
        return held_out_split(name, sources[SplitName.TRAIN], _class_table(network), report)
    return open_splits(section, report).get(name)


def _score(
    folder: Path,
    network: Network,
    images: Split,
    section: DataSection,
    compute: Compute,
    out: Path | None,
    report: Report,
) -> Metrics:
    split = _under_class_table(images, folder, network)
    _warn_if_seen(folder, network, split, report)
    compute.place_module(network.module)
    evaluation = evaluate(
        network.module,
        load_split(split, section, network.preprocessing, compute),
        classes=split.classes,
        split_name=split.name,
        compute=compute,
        keys=split.keys,
        report=report,
        task=f"evaluate {folder}",
    )
    if out is not None:
        target = out / folder.as_posix().strip("/").replace("/", "-").replace(":", "")
        write_evaluation(target, evaluation, split.classes, split.keys)
        plot_confusion(evaluation.confusion, split.classes, target / "confusion.png")
    return evaluation.metrics


def _under_class_table(images: Split, folder: Path, network: Network) -> Split:
    """Number the classes as the model does."""
    table = _class_table(network)
    if unknown := [name for name in images.classes if name not in table]:
        raise DataError(
            f"model {str(folder)!r}: the data has classes that it does not know: {', '.join(unknown[:5])}. It knows "
            f"{', '.join(table[:5])}{', ...' if len(table) > 5 else ''}."
        )
    return dataclasses.replace(images, classes=table)


def _class_table(network: Network) -> tuple[str, ...]:
    if network.classes is None:
        raise DataError(
            f"model {network.spec}: its folder has no class table, so its answers cannot be compared with labels. "
            "Fine-tune it, or convert it from a source with classes."
        )
    return network.classes


def _warn_if_seen(folder: Path, network: Network, split: Split, report: Report) -> None:
    seen = {fingerprint: name for name, fingerprint in network.fingerprints.items()}
    role = {SplitName.TRAIN: "trained", SplitName.VAL: "chose"}
    if split.fingerprint in seen:
        name = SplitName(seen[split.fingerprint])
        report(Warn(f"{folder}: these images {role[name]} this model; its score on them is no held-out score"))
