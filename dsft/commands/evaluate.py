"""``dsft evaluate``: score model folders on held-out data, side by side."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dsft.artifact.manifest import installed_versions
from dsft.assembly import Network, Source, load_split
from dsft.assembly.class_names import name_classes, require_class_file
from dsft.assembly.conversion import example_input
from dsft.assembly.exported_file import load_finished, stored_bytes
from dsft.assembly.held_out import warn_if_seen
from dsft.assembly.named_data import RECORDED, NamedData
from dsft.assembly.network import place_inputs
from dsft.assembly.scoring import open_scoring_data, under_class_table
from dsft.choices import Amp, SplitName
from dsft.commands.evaluate_result import EvaluateResult, ModelResult, score_before_training
from dsft.commands.outputs import require_apart, require_outside
from dsft.data import Split
from dsft.devices import Compute, resolve_compute
from dsft.errors import InputError
from dsft.evaluation import Evaluation, compare, evaluate
from dsft.metrics import TEMPERATURES
from dsft.progress import Report, Warn, ignore
from dsft.recipe.sections import DataSection
from dsft.report import COMPARISON_FILE, report_evaluation, write_comparison
from dsft.runtimes import measure_footprints, measured_on
from dsft.storage import require_replaceable, staged_folder, write_json


@dataclass(frozen=True)
class Scoring:
    """How models are scored.

    Attributes:
        split: The split.
        with_temperature: Also fit a temperature on the val split of the same data, and score with it.
        required: Main scores, ``top1`` or ``map``, that the models must have.
        timed: Measure times; None does so for several models.
        window_overlap: Run the networks in windows that overlap by this fraction; None for what the models record.
    """

    split: SplitName = SplitName.TEST
    with_temperature: bool = False
    required: tuple[str, ...] = ()
    timed: bool | None = None
    window_overlap: float | None = None


ON_TEST = Scoring()
"""The test split, without a temperature."""


def run(
    models: Sequence[Source],
    *,
    data: NamedData = RECORDED,
    scoring: Scoring = ON_TEST,
    out: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = ignore,
) -> EvaluateResult:
    """Score models on a split and measure what they cost.

    Args:
        models: Model folders, run folders or exported files.
        data: The images; by default those that the first model records.
        scoring: How the models are scored.
        out: Folder for metrics, tables and plots of each model; None writes nothing.
        device: Where the models run.
        overwrite: Replace an earlier evaluation.
        report: Receives the progress.

    Raises:
        InputError: A folder, the data or the split is invalid.
    """
    if out is not None:
        require_replaceable(out, "evaluation", (COMPARISON_FILE,), overwrite=overwrite)
        require_apart(out, [*(model.name for model in models), data.name])
    if scoring.with_temperature and scoring.split is SplitName.VAL:
        raise InputError(
            "--fit-temperature: the temperature is fitted on val, so val cannot be scored with it; found --split val. "
            "Score another split."
        )
    data.require_present()
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    candidates, section = _open(models, data, scoring, report)
    if out is not None:
        require_outside(out, section)
    evaluations = [_score(candidate, section, compute, report) for candidate in candidates]
    timed = len(models) > 1 if scoring.timed is None else scoring.timed
    first = candidates[0].network
    example = example_input(first.preprocessing, compute)
    rows = _compare(candidates, evaluations, compute, timed=timed)
    if data == RECORDED and scoring.split is SplitName.TEST:
        rows = tuple(dataclasses.replace(row, untrained=score_before_training(row)) for row in rows)
    result = EvaluateResult(rows, measured_on(first.module, example, compute), out, first.preprocessing.kind)
    if out is not None:
        _write(out, candidates, evaluations, result)
    return result


def _open(
    models: Sequence[Source], data: NamedData, scoring: Scoring, report: Report
) -> tuple[list[_Candidate], DataSection]:
    """Load the models and their images."""
    for model in models:
        require_class_file(model.classes)
    overlap = scoring.window_overlap
    networks = [
        place_inputs(load_finished(model), window_overlap=overlap, option="--window-overlap") for model in models
    ]
    _require_one_task(models, networks, scoring.required, with_temperature=scoring.with_temperature)
    opened = open_scoring_data(data, networks[0], models[0].label, report)
    if scoring.with_temperature and opened.is_plain:
        raise InputError(
            f"--fit-temperature: the temperature is fitted on val, and {data.name!r} is a plain folder of classes "
            "without one. Give a recipe, or a folder with train, val and test."
        )
    pairs = zip(networks, models, strict=True)
    networks = [name_classes(network, model, opened.classes, report) for network, model in pairs]
    images = opened.split(scoring.split, networks[0], report)
    calibration = opened.split(SplitName.VAL, networks[0], ignore) if scoring.with_temperature else None
    pairs = zip(networks, models, strict=True)
    return [_Candidate.of(Path(model.label), network, images, calibration) for network, model in pairs], opened.section


def _require_one_task(
    models: Sequence[Source], networks: Sequence[Network], required: Sequence[str], *, with_temperature: bool
) -> None:
    first = networks[0].task
    for model, network in zip(models, networks, strict=True):
        if network.task is not first:
            raise InputError(
                f"models: expected models of one task, found {models[0].label!r} of task {first.name} and "
                f"{model.label!r} of task {network.task.name}. Evaluate them separately."
            )
    main = first.scorer.layout.main
    if with_temperature and first.labels is None:
        raise InputError(
            f"--fit-temperature: needs probabilities of a class or of labels, and the models' task is {first.name}. "
            "Leave it out."
        )
    if other := [name for name in required if name != main.name]:
        raise InputError(
            f"--min-{other[0]}: the models' task is {first.name}, whose main score is {main.label}. Use "
            f"--min-{main.name}."
        )


@dataclass(frozen=True)
class _Candidate:
    """A model, the images that score it and those that fit its temperature, numbered by its class table."""

    folder: Path
    network: Network
    images: Split
    calibration: Split | None

    @classmethod
    def of(cls, folder: Path, network: Network, images: Split, calibration: Split | None) -> Self:
        """Return the model with its images under its own class table."""
        numbered = calibration and under_class_table(calibration, str(folder), network)
        return cls(folder, network, under_class_table(images, str(folder), network), numbered)


def _score(candidate: _Candidate, section: DataSection, compute: Compute, report: Report) -> Evaluation:
    warn_if_seen(candidate.images, str(candidate.folder), candidate.network.trainings, report)
    compute.place_module(candidate.network.module)
    evaluation = _evaluate(candidate, candidate.images, section, compute, report)
    if candidate.calibration is None:
        return evaluation
    held_out = _evaluate(candidate, candidate.calibration, section, compute, report)
    temperature = held_out.labels.scorer.fit_temperature(*held_out.rows)
    (low, high), main = TEMPERATURES, held_out.task.scorer.layout.main
    if not low * 1.01 < temperature < high / 1.01:
        report(
            Warn(
                f"{candidate.folder}: the likelihood on val has no maximum between temperatures {low:g} and {high:g} "
                f"({main.label} there is {main.with_unit(held_out.main_score)}), so the bound {temperature:.3g} is "
                "used. Do not rely on its probabilities."
            )
        )
    return evaluation.at_temperature(temperature, fitted_on=SplitName.VAL.value)


def _evaluate(
    candidate: _Candidate, images: Split, section: DataSection, compute: Compute, report: Report
) -> Evaluation:
    network = candidate.network
    return evaluate(
        network.module,
        load_split(images, section, network.preprocessing, compute),
        images,
        compute=compute,
        task=network.task,
        report=report,
        name=f"evaluating {candidate.folder} on {images.name}",
    )


def _compare(
    candidates: Sequence[_Candidate], evaluations: Sequence[Evaluation], compute: Compute, *, timed: bool
) -> tuple[ModelResult, ...]:
    """Combine scores and costs; every model but the first is compared with the first."""
    images = [example_input(candidate.network.preprocessing, compute) for candidate in candidates]
    modules = [candidate.network.module for candidate in candidates]
    footprints = measure_footprints(modules, images, compute, timed=timed)
    return tuple(
        ModelResult(
            str(candidate.folder),
            evaluation.metrics,
            footprint,
            stored_bytes(candidate.folder),
            None if evaluation is evaluations[0] else compare(evaluations[0], evaluation),
        )
        for candidate, evaluation, footprint in zip(candidates, evaluations, footprints, strict=True)
    )


def _write(
    out: Path, candidates: Sequence[_Candidate], evaluations: Sequence[Evaluation], result: EvaluateResult
) -> None:
    """Write the tables and plots of every model to a separate folder, and their comparison."""
    names = _folder_names([candidate.folder for candidate in candidates])
    found = result.to_dict()
    with staged_folder(out) as staged:
        for name, candidate, evaluation in zip(names, candidates, evaluations, strict=True):
            report_evaluation(staged / name, evaluation, candidate.images)
        slots = [{**model, "slot": name} for name, model in zip(names, found["models"], strict=True)]
        origin = {"versions": installed_versions(), "command": sys.argv}
        write_json(staged / COMPARISON_FILE, {**found, "inputs": result.kind, "models": slots, **origin})
    write_comparison(out)


def _folder_names(folders: Sequence[Path]) -> list[str]:
    """Derive folder names from the models' paths, such as ``runs-quickstart``; numbered if two are the same."""
    parts = [[part for part in folder.parts if part not in (folder.anchor, "..")] for folder in folders]
    names = ["-".join(path) or folder.resolve().name for path, folder in zip(parts, folders, strict=True)]
    return names if len(set(names)) == len(names) else [f"{number}-{name}" for number, name in enumerate(names, 1)]
