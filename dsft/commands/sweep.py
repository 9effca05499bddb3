"""``dsft sweep``: accuracy before training against cost, for a list of budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dsft.assembly import Network, load_source, load_split
from dsft.assembly.calibration import CALIBRATION_IMAGES, draw_calibration
from dsft.assembly.conversion import (
    apply_to_network,
    example_images,
    plan_network,
    require_dense,
    require_fitting_images,
)
from dsft.assembly.scoring import ScoringData, open_scoring_data, under_class_table
from dsft.choices import AUTO, Amp, Method, SplitName
from dsft.commands.outputs import require_apart, require_outside
from dsft.conversion import Budget, Request
from dsft.conversion.convert import choose_method
from dsft.conversion.factorization import Weighting
from dsft.data import Split
from dsft.devices import Compute, resolve_compute
from dsft.errors import ConversionError
from dsft.evaluation import evaluate
from dsft.measure import count_macs, count_parameters
from dsft.progress import Note, Report, Warn, ignore
from dsft.report.sweep import SweepPoint, plot_sweep
from dsft.runtimes import MeasuredOn, compare_latency, measured_on
from dsft.storage import require_replaceable, staged_folder, write_json
from dsft.tasks import Metrics

RESULT_FILE, PICTURE = "sweep.json", "sweep.png"


@dataclass(frozen=True)
class SweepRow:
    """One network; ``budget`` is None for the original. ``latency_ms`` was measured in turn with the others."""

    budget: float | None
    converted: int
    macs: int
    params: int
    latency_ms: float
    metrics: Metrics


@dataclass(frozen=True)
class SweepResult:
    """The original first, then the budgets in the order in which they were asked for.

    Attributes:
        rows: What each network costs and scores.
        unmet: Budgets that cannot be met, with the reason.
        measured_on: What the times were measured on.
        folder: Where table and picture are; None where they were not asked for.
    """

    rows: tuple[SweepRow, ...]
    unmet: dict[float, str]
    measured_on: MeasuredOn
    folder: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values; the metrics without their classes."""
        rows = []
        for row in self.rows:
            metrics = {key: value for key, value in row.metrics.to_dict().items() if key != "per_class"}
            rows.append({**vars(row), "metrics": metrics})
        unmet = [{"budget": budget, "reason": reason} for budget, reason in self.unmet.items()]
        return {"measured_on": self.measured_on.to_dict(), "rows": rows, "unmet": unmet}


def run(
    source: str,
    requests: Sequence[Request],
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    image_size: int | None = None,
    device: str = "auto",
    out: Path | None = None,
    overwrite: bool = False,
    report: Report = ignore,
) -> SweepResult:
    """Convert a network to each of several budgets, and score each on the val split before any training.

    Val chooses, so that the test split stays what measures the one that is chosen.

    Args:
        source: ``timm/NAME``, ``torchvision/NAME``, a model folder or a weights file; its classes must be known.
        requests: What each conversion is asked for; each with a budget.
        data: A recipe or a folder of images; None for the data that the model names.
        overrides: Changes to the recipe.
        model: The network that a weights file belongs to, as ``timm/NAME``.
        image_size: Side of the images in pixels; None for what the weights were trained with.
        device: Where the networks run.
        out: Where a table and a picture go; None writes nothing.
        overwrite: Replace the earlier sweep that ``out`` is.
        report: Receives the progress.

    Raises:
        ConversionError: No budget can be met.
        InputError: The source, the data or ``out`` is at fault.
    """
    if out is not None:
        require_replaceable(out, "sweep", (RESULT_FILE,), overwrite=overwrite)
        require_apart(out, (source, data))
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    original = load_source(source, model, image_size, report)
    require_dense(original)
    compute.place_module(original.module)
    require_fitting_images(original, compute)
    scoring = open_scoring_data(data, overrides, Path(source), original, report)
    if out is not None:
        require_outside(out, scoring.section)
    images = under_class_table(scoring.split(SplitName.VAL, original, report), Path(source), original)
    networks: list[tuple[float | None, Network]] = [(None, original)]
    unmet: dict[float, str] = {}
    calibration = _calibration(requests, scoring, original, compute)
    # What was seen of the original at work holds for every budget.
    known: dict[str, Weighting] = {}
    for asked, budget in _budgets(requests):
        request = dataclasses.replace(asked, method=choose_method(asked.method, has_calibration=bool(calibration)))
        try:
            prepared = plan_network(original, request, compute, report, calibration=calibration, known=known)
        except ConversionError as error:
            unmet[budget.share] = str(error)
            report(Warn(f"budget {budget.share:g} is left out: {error}"))
            continue
        networks.append(
            (
                budget.share,
                apply_to_network(original, prepared, compute, report, calibration=calibration, seed=request.seed),
            )
        )
    if len(networks) == 1:
        raise ConversionError(f"no budget of {', '.join(f'{share:g}' for share in unmet)} can be met.")
    rows = _measure(networks, images, scoring, compute, report)
    result = SweepResult(
        rows, unmet, measured_on(original.module, example_images(original.preprocessing, compute), compute), out
    )
    if out is not None:
        _write(result, out)
    return result


def _calibration(
    requests: Sequence[Request], scoring: ScoringData, network: Network, compute: Compute
) -> tuple[Tensor, ...]:
    """Draw training images where a method fits weights; a folder without splits has none beside those that score."""
    if scoring.is_plain or not any(request.method in (AUTO, Method.REFIT) for request in requests):
        return ()
    train = scoring.split(SplitName.TRAIN, network, ignore)
    count, seed = CALIBRATION_IMAGES, requests[0].seed
    return draw_calibration(train, scoring.section, network.preprocessing, compute, count, seed)


def _budgets(requests: Sequence[Request]) -> list[tuple[Request, Budget]]:
    return [(request, request.cost_budget) for request in requests if request.cost_budget is not None]


def _measure(
    networks: Sequence[tuple[float | None, Network]],
    images: Split,
    scoring: ScoringData,
    compute: Compute,
    report: Report,
) -> tuple[SweepRow, ...]:
    rows = []
    for budget, network in networks:
        example = example_images(network.preprocessing, compute)
        label = "original" if budget is None else f"budget {budget:g}"
        metrics, main = _score(network, images, scoring, compute, label, report), network.task.layout.main
        converted = len(network.plan.converted) if network.plan is not None else 0
        macs, params = count_macs(network.module, example), count_parameters(network.module)
        report(Note(f"{label}: {main.label} {main.words(main.of(metrics))}"))
        rows.append(SweepRow(budget, converted, macs, params, 0.0, metrics))
    modules = [network.module for _, network in networks]
    times = compare_latency(modules, [example] * len(modules), compute)
    return tuple(dataclasses.replace(row, latency_ms=time) for row, time in zip(rows, times, strict=True))


def _score(
    network: Network, images: Split, scoring: ScoringData, compute: Compute, label: str, report: Report
) -> Metrics:
    return evaluate(
        network.module,
        load_split(images, scoring.section, network.preprocessing, compute),
        classes=images.classes,
        split_name=images.name,
        compute=compute,
        keys=images.keys,
        task=network.task,
        report=report,
        name=f"evaluating {label}",
    ).metrics


def _write(result: SweepResult, out: Path) -> None:
    dense, *converted = result.rows
    main = dense.metrics.layout.main
    points = [
        SweepPoint(row.budget or 1.0, row.macs / dense.macs, row.latency_ms / dense.latency_ms, main.of(row.metrics))
        for row in converted
    ]
    with staged_folder(out) as staged:
        write_json(staged / RESULT_FILE, result.to_dict())
        plot_sweep(points, main.of(dense.metrics), main, staged / PICTURE)
