"""``dsft convert``: convert an existing checkpoint to a separable model folder, without training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dsft.artifact import save_model
from dsft.artifact.manifest import MANIFEST_FILE
from dsft.assembly import Network, Source, load_source
from dsft.assembly.calibration import draw_photographs, takes_photographs
from dsft.assembly.class_names import name_classes, require_class_file
from dsft.assembly.conversion import convert_network, example_input, open_converter, require_fitting_input
from dsft.assembly.conversion_data import CALIBRATION_IMAGES, ConversionData, open_conversion_data
from dsft.assembly.held_out import Training, provenance
from dsft.assembly.named_data import RECORDED, NamedData
from dsft.assembly.val_score import NotScored, ValScorer, open_val_scorer
from dsft.assembly.verdict import Verdict, reach_verdict
from dsft.choices import AUTO, Amp, Method, SplitName, WeightsKind
from dsft.commands.outputs import require_apart, require_outside
from dsft.conversion import ConversionHistory, ConversionPlan, ConversionReport, Request, report_costs
from dsft.devices import Compute, resolve_compute
from dsft.errors import ConversionError, InputError
from dsft.progress import Report, Warn, ignore
from dsft.report.layers import plot_layers
from dsft.storage import require_replaceable

VERDICT_IMAGES = 2000
"""Largest number of val images that the verdict is scored on, so that large data sets do not make the command long."""


@dataclass(frozen=True)
class ConvertResult:
    """A conversion: its plan, and unless it was a dry run its folder, its measured costs and the verdict."""

    folder: Path | None
    plan: ConversionPlan
    costs: ConversionReport | None = None
    verdict: Verdict | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``conversion.json``, or the plan of a dry run."""
        if self.costs is None or self.verdict is None:
            return self.plan.to_dict()
        return {"verdict": self.verdict.to_dict(), **self.costs.to_dict()}


def run(
    source: Source,
    out: Path | None,
    request: Request,
    *,
    data: NamedData = RECORDED,
    calibration_images: int = CALIBRATION_IMAGES,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = ignore,
) -> ConvertResult:
    """Convert a network, write it as a model folder, and compare it with the original.

    Args:
        source: The network, its weights and its class names.
        out: The new model folder; None only plans and writes nothing.
        request: What the conversion is asked for.
        data: The images: those of its train split calibrate the conversion, those of its val split score it.
        calibration_images: Number of calibration images, at most.
        device: Where the network runs and is timed.
        overwrite: Replace an earlier model folder.
        report: Receives the progress.

    Raises:
        InputError: The source cannot be loaded, the data is invalid, the conversion cannot be done, or ``out`` cannot
            be written.
    """
    if out is not None:
        require_replaceable(out, "model folder", (MANIFEST_FILE,), overwrite=overwrite)
        require_apart(out, (source.name, data.name))
    data.require_present()
    require_class_file(source.classes)
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    job = _prepare(source, data, request, calibration_images, compute, report)
    if out is not None:
        if job.data is not None:
            require_outside(out, job.data.section)
        return _convert(job, out, compute, overwrite, report)
    if request.max_drop is None:
        plan = open_converter(job.network, job.request, compute, report, calibration=job.calibration).plan()
    else:
        plan, _, _ = _apply(job, compute, report)
    return ConvertResult(None, _checked(plan, request, report))


@dataclass(frozen=True)
class _Job:
    """A conversion that can start.

    Attributes:
        network: The dense network, on its device.
        request: What is asked for, with the method settled.
        data: Its images; None if there are none.
        calibration: Batches that the weights are fitted to; empty if the method uses none.
        scorer: Scores networks on val, or why that is impossible.
    """

    network: Network
    request: Request
    data: ConversionData | None
    calibration: tuple[Tensor, ...]
    scorer: ValScorer | NotScored

    @property
    def trainings(self) -> tuple[Training, ...]:
        """What the converted network's weights depend on, for its manifest."""
        used = [SplitName.TRAIN] if self.calibration else []
        if self.request.max_drop is not None:
            used.append(SplitName.VAL)
        own = self.data.record(used, self.network) if self.data is not None else ()
        return (*self.network.trainings, *own)


def _prepare(source: Source, named: NamedData, request: Request, images: int, compute: Compute, report: Report) -> _Job:
    network = load_source(source.with_default_image_size(named.image_size), report, named.task)
    data = open_conversion_data(named, network, source.label, report)
    network = name_classes(network, source, data.classes if data is not None else None, report)
    method = _choose_method(request, source, network, has_data=data is not None, report=report)
    request = dataclasses.replace(request, method=method)
    compute.place_module(network.module)
    require_fitting_input(network, compute)
    # A search for the largest allowed loss needs the whole split: on a part of it a point may be chance.
    limit = VERDICT_IMAGES if request.max_drop is None else None
    scorer = open_val_scorer(data, network, source.label, compute, report, limit=limit)
    if isinstance(scorer, NotScored):
        if request.max_drop is not None:
            raise InputError(f"--budget max_drop: is measured on a val split, which cannot be scored: {scorer.reason}")
        if data is not None:
            report(Warn(f"the conversion is not scored: {scorer.reason}"))
    calibration: tuple[Tensor, ...] = ()
    if data is not None and request.method is Method.REFIT:
        calibration = data.calibration(network, compute, images, request.seed, report)
    elif request.method is Method.REFIT and takes_photographs(network.preprocessing):
        calibration = draw_photographs(network.preprocessing, compute, images, request.seed)
    return _Job(network, request, data, calibration, scorer)


def _choose_method(request: Request, source: Source, network: Network, *, has_data: bool, report: Report) -> Method:
    """Settle ``auto``: fit the weights to data if there is any, and unless the rank makes every layer exact."""
    if request.method == AUTO and request.rank == "full":
        return Method.SVD
    if has_data or request.method not in (AUTO, Method.REFIT):
        return request.choose_method(has_calibration=has_data)
    noun, way_out = network.preprocessing.kind.plural, "Give some with --data RECIPE|FOLDER"
    if request.method is Method.REFIT:
        raise ConversionError(
            f"--method refit: fits the weights to {noun}, and {source.label!r} comes without any. {way_out}, or use "
            "--method svd."
        )
    if takes_photographs(network.preprocessing):
        instead, method = "the weights are fitted to crops of two photographs, which can lose much", Method.REFIT
    else:
        instead, method = "the weights are factorized without data (svd), which can lose most", Method.SVD
    report(Warn(f"there are no {noun} to calibrate on, so {instead} of the accuracy. {way_out}."))
    return method


def _apply(job: _Job, compute: Compute, report: Report) -> tuple[ConversionPlan, Network, ConversionHistory]:
    score = job.scorer.points if isinstance(job.scorer, ValScorer) else None
    converted, history = convert_network(
        job.network, job.request, compute, report, calibration=job.calibration, score=score
    )
    return converted.required_plan, converted, history


def _convert(job: _Job, out: Path, compute: Compute, overwrite: bool, report: Report) -> ConvertResult:
    """Score, convert, score again, and write the model folder."""
    # Scored first, so that unreadable images stop the command before the long part.
    baseline = job.scorer.baseline(job.network)
    plan, converted, history = _apply(job, compute, report)
    _checked(plan, job.request, report)
    request = job.request
    example = example_input(converted.preprocessing, compute, request.batch_size or 1)
    conditions = request.runtime, request.threads
    measured = report_costs(job.network.module, converted.module, plan, example, compute, *conditions, report=report)
    costs = measured.with_history(history)
    verdict = reach_verdict(costs, baseline.compare(converted), job.request, plan.method, report)
    result = ConvertResult(out, plan, costs, verdict)
    description = converted.describe(converted.classes, WeightsKind.RAW, provenance(job.trainings))
    documents = {"conversion.json": result.to_dict()}
    save_model(out, converted.module, description, documents=documents, overwrite=overwrite)
    plot_layers(costs.to_dict()["layers"], out / "conversion.png")
    return result


def _checked(plan: ConversionPlan, request: Request, report: Report) -> ConversionPlan:
    """Return a plan, with a warning if it converts nothing."""
    if not plan.converted:
        reason = "none would become faster" if request.only_faster else "the budget allows the network unchanged"
        report(Warn(f"no convolution is converted: {reason}."))
    return plan
