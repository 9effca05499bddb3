"""``dsft evaluate``: one or more model folders on held-out data, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dsft.artifact.manifest import WEIGHTS_FILE, installed_versions
from dsft.assembly import Network, load_folder, load_split
from dsft.assembly.conversion import example_images
from dsft.assembly.held_out import ROLES, count_seen
from dsft.assembly.network import find_model_folder
from dsft.assembly.scoring import open_scoring_data, under_class_table
from dsft.choices import Amp, SplitName
from dsft.commands.outputs import require_apart, require_outside
from dsft.data import Split
from dsft.devices import Compute, resolve_compute
from dsft.errors import DsftError, InputError
from dsft.evaluation import Difference, Evaluation, compare, evaluate
from dsft.metrics import TEMPERATURES
from dsft.progress import Report, Warn, ignore
from dsft.recipe.sections import DataSection
from dsft.report import COMPARISON_FILE, report_evaluation, write_comparison
from dsft.runtimes import Footprint, MeasuredOn, measure_footprints, measured_on
from dsft.storage import require_replaceable, staged_folder, write_json
from dsft.tasks import Metrics


@dataclass(frozen=True)
class ModelResult:
    """One model: its scores and its cost.

    Attributes:
        model: Its folder.
        metrics: Its scores.
        footprint: What it costs to run.
        file_bytes: Size of its weights file.
        difference: How it differs from the first model; None for that one itself.
    """

    model: str
    metrics: Metrics
    footprint: Footprint
    file_bytes: int
    difference: Difference | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "model": self.model,
            "metrics": self.metrics.to_dict(),
            **vars(self.footprint),
            "file_bytes": self.file_bytes,
            "difference": self.difference and self.difference.to_dict(),
        }


@dataclass(frozen=True)
class EvaluateResult:
    """All models on the same images."""

    models: tuple[ModelResult, ...]
    measured_on: MeasuredOn
    folder: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"measured_on": self.measured_on.to_dict(), "models": [model.to_dict() for model in self.models]}

    def require_score(self, name: str, minimum: float) -> None:
        """Check that every model reaches a main score, such as a top-1 in percent.

        Args:
            name: The score.
            minimum: What it is to be at least.

        Raises:
            DsftError: One does not.
        """
        main = self.models[0].metrics.layout.main
        scores = [(row.model, main.of(row.metrics)) for row in self.models]
        if low := [(model, score) for model, score in scores if not score >= minimum]:
            found = ", ".join(f"{main.number(score)} of {model!r}" for model, score in low)
            unit = " %" if main.points == 1 else ""
            raise DsftError(f"--min-{name}: at least {minimum:g}{unit} is asked for, found {found}.")


def run(
    models: Sequence[Path],
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    split: SplitName = SplitName.TEST,
    with_temperature: bool = False,
    required_scores: Sequence[str] = (),
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
        with_temperature: Fit a temperature on the val split of the same data, and score with it as well.
        required_scores: Those main scores, ``top1`` or ``map``, that the models must have.
        out: Where the metrics, tables and pictures of each model go; None writes nothing.
        device: Where the models run.
        overwrite: Replace the earlier evaluation that ``out`` is.
        report: Receives the progress.

    Raises:
        InputError: A folder, the data or the split is at fault.
    """
    if out is not None:
        require_replaceable(out, "evaluation", (COMPARISON_FILE,), overwrite=overwrite)
        require_apart(out, [*map(str, models), data])
    if with_temperature and split is SplitName.VAL:
        raise InputError(
            "--fit-temperature: a temperature is fitted on val, so it cannot be scored there too, found --split val. "
            "Score another split."
        )
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    networks = [load_folder(folder) for folder in models]
    _require_one_task(models, networks, required_scores)
    scoring = open_scoring_data(data, overrides, models[0], networks[0], report)
    if out is not None:
        require_outside(out, scoring.section)
    if with_temperature and scoring.is_plain:
        raise InputError(
            f"--fit-temperature: a temperature is fitted on val, and {data!r} is a plain folder of classes without "
            "one. Give a recipe, or a folder with train, val and test."
        )
    images = scoring.split(split, networks[0], report)
    calibration = scoring.split(SplitName.VAL, networks[0], ignore) if with_temperature else None
    candidates = [
        _Candidate.of(folder, network, images, calibration) for folder, network in zip(models, networks, strict=True)
    ]
    evaluations = [_score(candidate, scoring.section, compute, report) for candidate in candidates]
    result = EvaluateResult(
        _compare(candidates, evaluations, compute),
        measured_on(networks[0].module, example_images(networks[0].preprocessing, compute), compute),
        out,
    )
    if out is not None:
        _write(out, candidates, evaluations, result)
    return result


def _require_one_task(models: Sequence[Path], networks: Sequence[Network], required_scores: Sequence[str]) -> None:
    first = networks[0].task
    for folder, network in zip(models, networks, strict=True):
        if network.task is not first:
            raise InputError(
                f"models of one task can be compared, found {str(models[0])!r} of task {first.name} and "
                f"{str(folder)!r} of task {network.task.name}. Evaluate them apart."
            )
    main = first.layout.main
    if other := [name for name in required_scores if name != main.name]:
        raise InputError(
            f"--min-{other[0]}: the models' task is {first.name}, whose main score is {main.label}. Use "
            f"--min-{main.name}."
        )


@dataclass(frozen=True)
class _Candidate:
    """A model, with the images that it is scored on and those for its temperature, under its own class table."""

    folder: Path
    network: Network
    images: Split
    calibration: Split | None

    @classmethod
    def of(cls, folder: Path, network: Network, images: Split, calibration: Split | None) -> Self:
        """Number the classes as the model does."""
        numbered = calibration and under_class_table(calibration, folder, network)
        return cls(folder, network, under_class_table(images, folder, network), numbered)


def _score(candidate: _Candidate, section: DataSection, compute: Compute, report: Report) -> Evaluation:
    _warn_if_seen(candidate, report)
    compute.place_module(candidate.network.module)
    evaluation = _answer(candidate, candidate.images, section, compute, report)
    if candidate.calibration is None:
        return evaluation
    held_out = _answer(candidate, candidate.calibration, section, compute, report)
    temperature = held_out.task.fit_temperature(held_out.logits, held_out.targets)
    (low, high), main = TEMPERATURES, held_out.task.layout.main
    if not low * 1.01 < temperature < high / 1.01:
        report(
            Warn(
                f"{candidate.folder}: the likelihood on val has no best temperature between {low:g} and {high:g} "
                f"({main.label} there is {main.words(held_out.main_score)}), so the bound {temperature:.3g} is taken. "
                "Do not rely on the probabilities that it gives."
            )
        )
    return evaluation.at_temperature(temperature, fitted_on=SplitName.VAL.value)


def _answer(candidate: _Candidate, images: Split, section: DataSection, compute: Compute, report: Report) -> Evaluation:
    network = candidate.network
    return evaluate(
        network.module,
        load_split(images, section, network.preprocessing, compute),
        classes=images.classes,
        split_name=images.name,
        compute=compute,
        keys=images.keys,
        task=network.task,
        report=report,
        name=f"evaluating {candidate.folder} on {images.name}",
    )


def _compare(
    candidates: Sequence[_Candidate], evaluations: Sequence[Evaluation], compute: Compute
) -> tuple[ModelResult, ...]:
    """Put scores and costs together; every model but the first is compared with the first."""
    images = [example_images(candidate.network.preprocessing, compute) for candidate in candidates]
    footprints = measure_footprints([candidate.network.module for candidate in candidates], images, compute)
    return tuple(
        ModelResult(
            str(candidate.folder),
            evaluation.metrics,
            footprint,
            (find_model_folder(candidate.folder) / WEIGHTS_FILE).stat().st_size,
            None if evaluation is evaluations[0] else compare(evaluations[0], evaluation),
        )
        for candidate, evaluation, footprint in zip(candidates, evaluations, footprints, strict=True)
    )


def _write(
    out: Path, candidates: Sequence[_Candidate], evaluations: Sequence[Evaluation], result: EvaluateResult
) -> None:
    """Write the tables and pictures of every model in a folder of its own, and what compares them."""
    names = _folder_names([candidate.folder for candidate in candidates])
    found = result.to_dict()
    with staged_folder(out) as staged:
        for name, candidate, evaluation in zip(names, candidates, evaluations, strict=True):
            report_evaluation(staged / name, evaluation, candidate.images)
        slots = [{**model, "slot": name} for name, model in zip(names, found["models"], strict=True)]
        origin = {"versions": installed_versions(), "command": sys.argv}
        write_json(staged / COMPARISON_FILE, {**found, "models": slots, **origin})
    write_comparison(out)


def _folder_names(folders: Sequence[Path]) -> list[str]:
    """Name a folder after each model's path, as ``runs-quickstart``; numbered where two would be the same."""
    parts = [[part for part in folder.parts if part not in (folder.anchor, "..")] for folder in folders]
    names = ["-".join(path) or folder.resolve().name for path, folder in zip(parts, folders, strict=True)]
    return names if len(set(names)) == len(names) else [f"{number}-{name}" for number, name in enumerate(names, 1)]


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
