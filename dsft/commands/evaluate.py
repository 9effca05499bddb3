"""``dsft evaluate``: one or more model folders on held-out data, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.assembly import Network, load_folder, load_split, open_data, split_data
from dsft.assembly.conversion import example_images
from dsft.assembly.held_out import ROLES, count_seen
from dsft.choices import Amp, DataSource, SplitName
from dsft.commands.outputs import require_apart
from dsft.data import Split, held_out_split
from dsft.devices import Compute, resolve_compute
from dsft.errors import DataError, InputError
from dsft.evaluation import Evaluation, Metrics, evaluate, write_evaluation
from dsft.measure import MeasuredOn, compare_latency, count_macs, count_parameters, measured_on
from dsft.progress import Report, Warn, ignore
from dsft.recipe import load_recipe
from dsft.recipe.sections import DataSection
from dsft.report import plot_confusion
from dsft.storage import require_replaceable, staged_folder, write_json

RESULT_FILE = "models.json"


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
        overwrite: Replace the earlier evaluation that ``out`` is.
        report: Receives the progress.

    Raises:
        InputError: A folder, the data or the split is at fault.
    """
    if out is not None:
        require_replaceable(out, "evaluation", (RESULT_FILE,), overwrite=overwrite)
        require_apart(out, [*map(str, models), data])
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    networks = [load_folder(folder) for folder in models]
    section = _data_section(data, overrides, models[0], networks[0])
    images = _held_out(section, data, split, networks[0], report)
    candidates = [
        _Candidate(folder, network, _under_class_table(images, folder, network))
        for folder, network in zip(models, networks, strict=True)
    ]
    evaluations = [_score(candidate, section, compute, report) for candidate in candidates]
    result = EvaluateResult(
        _with_costs(candidates, evaluations, compute),
        measured_on(networks[0].module, example_images(networks[0].preprocessing, compute), compute),
        out,
    )
    if out is not None:
        _write(out, candidates, evaluations, result)
    return result


@dataclass(frozen=True)
class _Candidate:
    """A model, with the images under its own class table."""

    folder: Path
    network: Network
    images: Split


def _data_section(data: str | None, overrides: Sequence[str], folder: Path, network: Network) -> DataSection:
    if data is not None and not Path(data).is_dir():
        return load_recipe(data, overrides).data
    if overrides:
        raise InputError(f"overrides {list(overrides)!r}: they change a recipe, so --data must name one.")
    if data is not None:
        return DataSection(source=DataSource.FOLDER, root=data)
    if not network.trainings:
        raise DataError(f"model {str(folder)!r}: its folder names no data. Say which with --data RECIPE or FOLDER.")
    return network.trainings[-1].section()


def _held_out(section: DataSection, data: str | None, name: SplitName, network: Network, report: Report) -> Split:
    """Open the split; a plain folder of classes is a split by itself."""
    sources = open_data(section, report)
    is_plain = data is not None and Path(data).is_dir() and list(sources) == [SplitName.TRAIN]
    if is_plain:
        return held_out_split(name, sources[SplitName.TRAIN], _class_table(network), report)
    return split_data(section, sources, report).get(name)


def _score(candidate: _Candidate, section: DataSection, compute: Compute, report: Report) -> Evaluation:
    images, network = candidate.images, candidate.network
    _warn_if_seen(candidate, report)
    compute.place_module(network.module)
    return evaluate(
        network.module,
        load_split(images, section, network.preprocessing, compute),
        classes=images.classes,
        split_name=images.name,
        compute=compute,
        keys=images.keys,
        report=report,
        task=f"evaluate {candidate.folder}",
    )


def _with_costs(
    candidates: Sequence[_Candidate], evaluations: Sequence[Evaluation], compute: Compute
) -> tuple[ModelResult, ...]:
    modules = [candidate.network.module for candidate in candidates]
    examples = [example_images(candidate.network.preprocessing, compute) for candidate in candidates]
    times = compare_latency(modules, examples, compute)
    return tuple(
        ModelResult(
            str(candidate.folder), evaluation.metrics, count_parameters(module), count_macs(module, example), time
        )
        for candidate, evaluation, module, example, time in zip(
            candidates, evaluations, modules, examples, times, strict=True
        )
    )


def _write(
    out: Path, candidates: Sequence[_Candidate], evaluations: Sequence[Evaluation], result: EvaluateResult
) -> None:
    """Write the tables and pictures of every model in a folder of its own, and what compares them."""
    names = _folder_names([candidate.folder for candidate in candidates])
    with staged_folder(out) as staged:
        for name, candidate, evaluation in zip(names, candidates, evaluations, strict=True):
            images = candidate.images
            write_evaluation(staged / name, evaluation, images.classes, images.keys)
            plot_confusion(evaluation.confusion, images.classes, staged / name / "confusion.png")
        write_json(staged / RESULT_FILE, result.to_dict())


def _folder_names(folders: Sequence[Path]) -> list[str]:
    """Name a folder after each model's path, as ``runs-quickstart``; numbered where two would be the same."""
    parts = [[part for part in folder.parts if part not in (folder.anchor, "..")] for folder in folders]
    names = ["-".join(path) or folder.resolve().name for path, folder in zip(parts, folders, strict=True)]
    return names if len(set(names)) == len(names) else [f"{number}-{name}" for number, name in enumerate(names, 1)]


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


def _warn_if_seen(candidate: _Candidate, report: Report) -> None:
    """Say how many of the images trained or chose the model."""
    images = candidate.images
    for role, count in count_seen(images, candidate.network.trainings).items():
        report(
            Warn(
                f"{candidate.folder}: {count:,} of these {len(images):,} images {ROLES[role]} this model, or one that "
                "it came from; its score on them is no held-out score."
            )
        )
