"""``dsft convert``: an existing checkpoint becomes a separable model folder; no training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.artifact import save_model
from dsft.artifact.manifest import MANIFEST_FILE
from dsft.assembly import load_source
from dsft.assembly.conversion import apply_to_network, example_images, plan_network, require_fitting_images
from dsft.assembly.held_out import provenance
from dsft.choices import Amp, WeightsKind
from dsft.commands.outputs import require_apart
from dsft.devices import resolve_compute
from dsft.progress import Report, Warn, ignore
from dsft.storage import require_replaceable
from dsft.surgery import ConversionPlan, ConversionReport, Request, report_costs


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
        require_apart(out, (source,))
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    network = load_source(source, model, image_size, report)
    compute.place_module(network.module)
    require_fitting_images(network, compute)
    plan = plan_network(network, request, compute, report)
    if not plan.converted:
        report(Warn("no convolution is converted: the budget allows the network as it is."))
    if out is None:
        return ConvertResult(None, plan, None)
    converted = apply_to_network(network, plan, request.seed, report)
    images = example_images(network.preprocessing, compute)
    costs = report_costs(network.module, converted.module, plan, images, compute, report)
    save_model(
        out,
        converted.module,
        spec=converted.spec,
        preprocessing=converted.preprocessing,
        classes=converted.classes,
        plan=plan,
        weights=WeightsKind.RAW,
        **provenance(network.trainings),
        documents={"conversion.json": costs.to_dict()},
        overwrite=overwrite,
    )
    return ConvertResult(out, plan, costs)
