"""``dsft convert``: an existing checkpoint becomes a separable model folder; no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.artifact import save_model
from dsft.artifact.manifest import MANIFEST_FILE
from dsft.assembly import Network, load_source
from dsft.assembly.calibration import CALIBRATION_IMAGES, CalibrationImages, open_calibration
from dsft.assembly.conversion import convert_network, example_images, plan_network, require_fitting_images
from dsft.assembly.held_out import Training, provenance
from dsft.assembly.scoring import main_scorer, open_scoring_data, under_class_table
from dsft.choices import Amp, SplitName, WeightsKind
from dsft.commands.outputs import require_apart
from dsft.conversion import ConversionPlan, ConversionReport, Request, report_costs
from dsft.conversion.convert import choose_method
from dsft.devices import Compute, resolve_compute
from dsft.errors import InputError
from dsft.progress import Report, Warn, ignore
from dsft.report.layers import plot_layers
from dsft.storage import require_replaceable


@dataclass(frozen=True)
class ConvertResult:
    """A conversion: its plan, and after a real run its folder and its measured costs."""

    folder: Path | None
    plan: ConversionPlan
    costs: ConversionReport | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values: the content of ``conversion.json``, or the plan of a dry run."""
        return self.costs.to_dict() if self.costs is not None else self.plan.to_dict()


def run(
    source: str,
    out: Path | None,
    request: Request,
    *,
    data: str | None = None,
    calibrate: str | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    model: str | None = None,
    image_size: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = ignore,
) -> ConvertResult:
    """Convert a network and write it as a model folder.

    Args:
        source: ``timm/NAME``, ``torchvision/NAME``, a model folder or a weights file.
        out: The new model folder; None plans only and writes nothing.
        request: What the conversion is asked for.
        data: A recipe or a folder, on whose val split a budget of ``max_drop`` is scored; None for the data that the
            source's folder names.
        calibrate: A recipe or a folder, to whose training images the weights are fitted; None for none.
        calibration_images: How many of them.
        model: The network that a weights file belongs to, as ``timm/NAME``.
        image_size: Side in pixels for which costs are counted; None for what the weights were trained with.
        device: Where the times are measured.
        overwrite: Replace the model folder that ``out`` is.
        report: Receives the progress.

    Raises:
        InputError: The source cannot be loaded, the conversion cannot be done, or ``out`` may not be written.
    """
    if out is not None:
        require_replaceable(out, "model folder", (MANIFEST_FILE,), overwrite=overwrite)
        require_apart(out, (source, data))
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    network = load_source(source, model, image_size, report)
    compute.place_module(network.module)
    require_fitting_images(network, compute)
    request = dataclasses.replace(request, method=choose_method(request.method, has_calibration=calibrate is not None))
    images = CalibrationImages()
    if calibrate is not None:
        count, seed = calibration_images, request.seed
        images = open_calibration(calibrate, network.preprocessing, compute, count, seed, report)
    score, judged = _open_score(Path(source), data, network, request, compute, report)
    if out is None and score is None:
        prepared = plan_network(network, request, compute, report, calibration=images.batches)
        return ConvertResult(None, _checked(prepared.plan, request, report), None)
    converted, trials = convert_network(network, request, compute, report, calibration=images.batches, score=score)
    plan = _checked(converted.plan, request, report)
    if out is None:
        return ConvertResult(None, plan, None)
    example = example_images(network.preprocessing, compute)
    measured = report_costs(network.module, converted.module, plan, example, compute, request.runtime, report)
    costs = dataclasses.replace(measured, trials=trials)
    trainings = (*network.trainings, *images.trainings, *judged)
    description = converted.describe(converted.classes, WeightsKind.RAW, provenance(trainings))
    documents = {"conversion.json": costs.to_dict()}
    save_model(out, converted.module, description, documents=documents, overwrite=overwrite)
    plot_layers(costs.to_dict()["layers"], out / "conversion.png")
    return ConvertResult(out, plan, costs)


def _open_score(
    source: Path, data: str | None, network: Network, request: Request, compute: Compute, report: Report
) -> tuple[Callable[[Network], float] | None, tuple[Training, ...]]:
    """Return how networks are scored, and that val chose among them; nothing where no score is asked for."""
    if request.max_drop is None:
        if data is not None:
            raise InputError(f"--data: is what --budget max_drop=POINTS is scored on, found {data!r} without it.")
        return None, ()
    scoring = open_scoring_data(data, (), source, network, report)
    images = scoring.split(SplitName.VAL, network, report)
    chosen = Training(scoring.section.model_dump(mode="json"), {SplitName.VAL.value: images.fingerprint})
    known = any(chosen.fingerprints.items() <= training.fingerprints.items() for training in network.trainings)
    return main_scorer(under_class_table(images, source, network), scoring.section, compute), () if known else (chosen,)


def _checked(plan: ConversionPlan | None, request: Request, report: Report) -> ConversionPlan:
    """Return a plan, and say where it changes nothing."""
    assert plan is not None  # noqa: S101 (the network was converted by it)
    if not plan.converted:
        reason = "none would become faster" if request.only_faster else "the budget allows the network as it is"
        report(Warn(f"no convolution is converted: {reason}."))
    return plan
