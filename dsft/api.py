"""The functions of ``import dsft`` that run a recipe or score a model, with progress in notebooks and on terminals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dsft.assembly import Source, Verb
from dsft.assembly.named_data import NamedData
from dsft.choices import SplitName, Start, TaskName
from dsft.commands import evaluate as evaluate_folders
from dsft.commands import evaluate_module, experiment
from dsft.commands import export as export_model
from dsft.commands.check_inputs import CheckSettings
from dsft.commands.experiment import ExperimentResult
from dsft.commands.export import ExportResult, ExportSettings
from dsft.console import progress_for_python, run_report
from dsft.conversion import Conversion
from dsft.errors import InputError, did_you_mean, type_of
from dsft.progress import Report
from dsft.recipe import Recipe, load_recipe, make_recipe
from dsft.tasks import Metrics, Task, task_named

AnyRecipe = str | os.PathLike[str] | Mapping[str, Any] | Recipe
"""A YAML file, the name of a shipped recipe, the folder of a run, the sections as a dict, or a recipe."""


def train(
    recipe: AnyRecipe,
    model: nn.Module | None = None,
    overrides: Sequence[str] = (),
    *,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    report: Report | None = None,
) -> ExperimentResult:
    """Train a network from random weights, as ``dsft train`` does; see :func:`finetune` for the arguments."""
    start = _start(overwrite=overwrite, resume=resume, dry_run=dry_run)
    return _run(Verb.TRAIN, recipe, model, overrides, start, report)


def finetune(
    recipe: AnyRecipe,
    model: nn.Module | None = None,
    overrides: Sequence[str] = (),
    *,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    report: Report | None = None,
) -> ExperimentResult:
    """Fine-tune a network, converted if the recipe says so, as ``dsft finetune`` does.

    The run is written to the recipe's ``output.dir``. Ctrl-C saves a checkpoint and raises ``InterruptedRun``; the same
    call with ``resume=True`` continues.

    Args:
        recipe: A YAML file, the name of a shipped recipe, the folder of a run, the sections as a dict, or a recipe.
        model: A network of your own with its weights, instead of the recipe's section ``model``. A copy is trained.
            What it states in an attribute ``pretrained_cfg``, as timm's networks do, determines the preprocessing. If
            it was trained on the classes of the data, say so with the override ``model.classes=data``.
        overrides: Changes to the recipe, such as ``["schedule.epochs=3", "~ema"]``.
        overwrite: Replace an earlier run in ``output.dir``.
        resume: Continue the interrupted run in ``output.dir``.
        dry_run: Build everything, run one training and one evaluation batch, and write nothing.
        report: Receives the progress; None displays it.

    Returns:
        The trained network (``model``), the scores (``metrics``), the conversion (``plan``, ``costs``) and the run's
        ``folder``.

    Raises:
        InputError: The recipe, the data or the network is invalid; nothing was written.
        TrainingError: The run failed.
        InterruptedRun: A signal stopped it after a checkpoint was saved.
    """
    start = _start(overwrite=overwrite, resume=resume, dry_run=dry_run)
    return _run(Verb.FINETUNE, recipe, model, overrides, start, report)


def evaluate(
    model: nn.Module | str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    split: str = "test",
    classes: Sequence[str] | None = None,
    task: str = "classification",
    image_size: int | None = None,
    device: str = "auto",
    report: Report | None = None,
) -> Metrics:
    """Score a model on held-out data.

    Args:
        model: A model folder, a run folder, ``hf/OWNER/NAME``, or a network, which is left unchanged.
        data: A recipe, the folder of a run, or a folder of images with one folder per class; None for the data that the
            model folder records.
        split: ``train``, ``val`` or ``test``.
        classes: Of a network: names of its outputs; None if they are the classes of the data, in order.
        task: Of a network: what its outputs mean, one of :class:`dsft.choices.TaskName`.
        image_size: Of a network: side of the images in pixels; None for what it states in ``pretrained_cfg``, or 224.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        report: Receives the progress; None displays it.

    Returns:
        The metrics, with the names of ``metrics.json``.

    Raises:
        InputError: The model, the data or the split is invalid.
    """
    named, show = NamedData(os.fspath(data) if data is not None else None), report or progress_for_python()
    chosen, kind = SplitName(_word("split", split, list(SplitName))), _task(task)
    if isinstance(model, nn.Module):
        return evaluate_module.run(
            model,
            named,
            split=chosen,
            classes=classes,
            task=kind,
            image_size=image_size,
            device=device,
            report=show,
        )
    _require_path(model, classes, image_size)
    scoring = evaluate_folders.Scoring(chosen, timed=False)
    source = Source(os.fspath(model))
    result = evaluate_folders.run([source], data=named, scoring=scoring, device=device, report=show)
    return result.models[0].metrics


def export(
    model: nn.Module | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    images: int = 256,
    int8: bool = False,
    max_drop: float | None = None,
    classes: Sequence[str] | None = None,
    task: str = "classification",
    image_size: int | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> ExportResult:
    """Export a model to a file for another program, and check that the file computes the same outputs.

    Batch norms are folded into the convolutions before them. A JSON file beside the file describes inputs, outputs,
    preprocessing and classes.

    Args:
        model: A model folder, such as ``dsft.save`` writes, a run folder, ``hf/OWNER/NAME``, or a network, converted or
            not, which is left unchanged.
        out: The file; its suffix determines the format: ``.onnx``, ``.xml`` (OpenVINO), ``.pte`` (ExecuTorch), ``.pt2``
            (torch.export) or ``.safetensors``.
        data: A recipe or a folder of images for the comparison with the model; None for the data that the model folder
            records, or for noise without any.
        images: Number of images for the comparison, and for the calibration of int8.
        int8: Quantize the file, of ONNX, OpenVINO or ExecuTorch, to int8.
        max_drop: Largest loss of the main score by int8 on the calibration images, in points or dB; layers are kept in
            float32 until it is met. None for any.
        classes: Of a network: names of its outputs, for the description; None if they are unknown.
        task: Of a network: what its outputs mean, one of :class:`dsft.choices.TaskName`.
        image_size: Of a network: side of the images in pixels; None for what it states in ``pretrained_cfg``, or 224.
        overwrite: Replace ``out``.
        report: Receives the progress; None displays it.

    Returns:
        The paths, the size and the differences from the model.

    Raises:
        ExportError: The model cannot be exported, or the outputs of the file differ; then it is not written.
        InputError: The model, the data or ``out`` is invalid, or a package is missing.
    """
    named, show = NamedData(os.fspath(data) if data is not None else None), report or progress_for_python()
    check = CheckSettings(named, images=images, calibration_images=images)
    settings, kind = ExportSettings(int8=int8, max_drop=max_drop, check=check, overwrite=overwrite), _task(task)
    if isinstance(model, nn.Module):
        return export_model.run_module(
            model, Path(out), settings, classes=classes, task=kind, image_size=image_size, report=show
        )
    _require_path(model, classes, image_size)
    return export_model.run(Source(os.fspath(model)), Path(out), settings, show)


def show_progress() -> Report:
    """Return a function that displays progress in a notebook or on a terminal, or else prints it as lines.

    Give it to ``dsft.convert`` as ``report``, which displays nothing by itself.
    """
    return progress_for_python()


def _run(
    verb: Verb,
    recipe: AnyRecipe,
    model: nn.Module | None,
    overrides: Sequence[str],
    start: Start,
    report: Report | None,
) -> ExperimentResult:
    if model is not None:
        overrides = [f"model={json.dumps(_own_section(model))}", *overrides]
    if isinstance(recipe, Recipe | Mapping):
        resolved = make_recipe(recipe, overrides)
    else:
        resolved = load_recipe(os.fspath(recipe), overrides)
    with run_report(report or progress_for_python(), resolved) as everywhere:
        return experiment.run(resolved, verb, start=start, module=model, report=everywhere)


def _own_section(model: nn.Module) -> dict[str, str]:
    """Return the recipe's section ``model`` for a network in memory; its class stands for the builder."""
    kind = type(model)
    return {"source": "python", "builder": f"{kind.__module__}:{kind.__qualname__}"}


def _start(*, overwrite: bool, resume: bool, dry_run: bool) -> Start:
    given = {Start.OVERWRITE: overwrite, Start.RESUME: resume, Start.DRY_RUN: dry_run}
    chosen = [start for start, is_given in given.items() if is_given]
    if len(chosen) > 1 and resume:
        raise InputError(f"resume: cannot be combined with {next(each for each in chosen if each != Start.RESUME)}.")
    return chosen[-1] if chosen else Start.NEW


def _require_path(model: object, classes: Sequence[str] | None, image_size: int | None) -> None:
    """Check that what is no network is a folder, and that nothing is said about it which the folder records."""
    if not isinstance(model, str | os.PathLike):
        advice = " Give its attribute model." if isinstance(model, Conversion) else ""
        raise InputError(f"model: expected a network or a folder, found {type_of(model)}.{advice}")
    if classes is not None or image_size is not None:
        given = "classes" if classes is not None else "image_size"
        raise InputError(f"{given}: applies to a network in memory; the model folder {str(model)!r} records it.")


def _task(name: str) -> Task:
    return task_named(TaskName(_word("task", name, list(TaskName))))


def _word(name: str, found: str, valid: Sequence[str]) -> str:
    if found not in valid:
        raise InputError(f"{name}: expected {', '.join(valid)}, found {found!r}.{did_you_mean(found, valid)}")
    return found
