"""``dsft sweep``: accuracy before training against cost, for a list of budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dsft.assembly import Network, Source, load_source
from dsft.assembly.class_names import name_classes, require_class_file
from dsft.assembly.conversion import (
    as_converted,
    example_input,
    open_converter,
    require_dense,
    require_fitting_input,
)
from dsft.assembly.conversion_data import CALIBRATION_IMAGES, open_conversion_data
from dsft.assembly.named_data import RECORDED, NamedData
from dsft.assembly.val_score import NotScored, ValScorer, open_val_scorer
from dsft.choices import AUTO, Amp, InputKind, Method
from dsft.commands.outputs import require_apart, require_outside
from dsft.conversion import Request
from dsft.devices import Compute, resolve_compute
from dsft.errors import BudgetError, ConversionError, InputError
from dsft.measure import count_macs, count_parameters
from dsft.progress import Note, Report, Warn, ignore
from dsft.report.sweep import SweepPoint, plot_sweep
from dsft.runtimes import MeasuredOn, compare_latency, measured_on
from dsft.storage import require_replaceable, staged_folder, write_json
from dsft.tasks import Metrics

RESULT_FILE, PICTURE = "sweep.json", "sweep.png"


@dataclass(frozen=True)
class SweepRow:
    """One network; ``budget`` is None for the original. ``latency_ms`` is measured interleaved with the others."""

    budget: float | None
    converted: int
    macs: int
    params: int
    latency_ms: float
    metrics: Metrics


@dataclass(frozen=True)
class SweepResult:
    """The original first, then the budgets in the order in which they were given.

    Attributes:
        rows: Cost and score of each network.
        unmet: Budgets that cannot be met, with the reason.
        measured_on: What the times were measured on.
        folder: Folder of the table and the plot; None if none was asked for.
        kind: What the networks are scored on.
    """

    rows: tuple[SweepRow, ...]
    unmet: dict[float, str]
    measured_on: MeasuredOn
    folder: Path | None
    kind: InputKind = InputKind.IMAGE

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values; the metrics without those of the classes."""
        rows = []
        for row in self.rows:
            metrics = {key: value for key, value in row.metrics.to_dict().items() if key != "per_class"}
            rows.append({**vars(row), "metrics": metrics})
        unmet = [{"budget": budget, "reason": reason} for budget, reason in self.unmet.items()]
        return {"measured_on": self.measured_on.to_dict(), "rows": rows, "unmet": unmet}


def run(
    source: Source,
    requests: Sequence[Request],
    *,
    data: NamedData = RECORDED,
    device: str = "auto",
    out: Path | None = None,
    overwrite: bool = False,
    report: Report = ignore,
) -> SweepResult:
    """Convert a network to each of several budgets, and score each on the val split before any training.

    The budget is selected on val, so that the test split still measures the selected network.

    Args:
        source: The network; its class names must be known.
        requests: What each conversion is asked for, each with a budget.
        data: The images: those of its train split calibrate the conversions, those of its val split score them.
        device: Where the networks run.
        out: Folder for a table and a plot; None writes nothing.
        overwrite: Replace an earlier sweep.
        report: Receives the progress.

    Raises:
        ConversionError: No budget can be met.
        InputError: The source or the data is invalid, or ``out`` cannot be written.
    """
    if out is not None:
        require_replaceable(out, "sweep", (RESULT_FILE,), overwrite=overwrite)
        require_apart(out, (source.name, data.name))
    data.require_present()
    require_class_file(source.classes)
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    job = _prepare(source, requests, data, compute, report)
    if out is not None:
        require_outside(out, job.scorer.section)
    networks, unmet = _convert_each(job, requests, compute, report)
    rows = _measure([(None, job.original), *networks], job.scorer, compute, report)
    example = example_input(job.original.preprocessing, compute)
    where, kind = measured_on(job.original.module, example, compute), job.original.preprocessing.kind
    result = SweepResult(rows, unmet, where, out, kind)
    if out is not None:
        _write(result, out)
    return result


@dataclass(frozen=True)
class _Job:
    """A dense network on its device, what scores networks, and the batches that weights are fitted to, if any."""

    original: Network
    scorer: ValScorer
    calibration: tuple[Tensor, ...]


def _prepare(source: Source, requests: Sequence[Request], named: NamedData, compute: Compute, report: Report) -> _Job:
    original = load_source(source.with_default_image_size(named.image_size), report, named.task)
    require_dense(original)
    data = open_conversion_data(named, original, source.label, report)
    original = name_classes(original, source, data.classes if data is not None else None, report)
    compute.place_module(original.module)
    require_fitting_input(original, compute)
    scorer = open_val_scorer(data, original, source.label, compute, report)
    if data is None or isinstance(scorer, NotScored):
        reason = scorer.reason if isinstance(scorer, NotScored) else ""
        raise InputError(f"dsft sweep: compares scores on a val split, which cannot be scored: {reason}")
    calibration: tuple[Tensor, ...] = ()
    if any(request.method in (AUTO, Method.REFIT) for request in requests):
        calibration = data.calibration(original, compute, CALIBRATION_IMAGES, requests[0].seed, report)
    return _Job(original, scorer, calibration)


def _convert_each(
    job: _Job, requests: Sequence[Request], compute: Compute, report: Report
) -> tuple[list[tuple[float, Network]], dict[float, str]]:
    """Return the converted network of each budget, and the budgets that cannot be met with the reason."""
    networks: list[tuple[float, Network]] = []
    unmet: dict[float, str] = {}
    # The requests differ in their budgets alone, so the original is analyzed once.
    converter = open_converter(job.original, requests[0], compute, report, calibration=job.calibration)
    for budget in (request.cost_budget for request in requests):
        if budget is None:
            continue
        try:
            plan = converter.plan(budget.share)
        except BudgetError as error:
            unmet[budget.share] = str(error)
            report(Warn(f"budget {budget.share:g} is skipped: {error}"))
            continue
        networks.append((budget.share, as_converted(job.original, converter.convert(plan))))
    if not networks:
        raise ConversionError(f"no budget of {', '.join(f'{share:g}' for share in unmet)} can be met.")
    return networks, unmet


def _measure(
    networks: Sequence[tuple[float | None, Network]], scorer: ValScorer, compute: Compute, report: Report
) -> tuple[SweepRow, ...]:
    """Score every network, and time all of them interleaved."""
    rows = []
    for budget, network in networks:
        example = example_input(network.preprocessing, compute)
        label = "original" if budget is None else f"budget {budget:g}"
        metrics, main = scorer.evaluate(network).metrics, network.task.scorer.layout.main
        converted = len(network.plan.converted) if network.plan is not None else 0
        macs, params = count_macs(network.module, example), count_parameters(network.module)
        report(Note(f"{label}: {main.label} {main.with_unit(main.value_in(metrics))}"))
        rows.append(SweepRow(budget, converted, macs, params, 0.0, metrics))
    modules = [network.module for _, network in networks]
    times = compare_latency(modules, [example] * len(modules), compute)
    return tuple(dataclasses.replace(row, latency_ms=time) for row, time in zip(rows, times, strict=True))


def _write(result: SweepResult, out: Path) -> None:
    dense, *converted = result.rows
    main = dense.metrics.layout.main
    points = [
        SweepPoint(
            row.budget or 1.0, row.macs / dense.macs, row.latency_ms / dense.latency_ms, main.value_in(row.metrics)
        )
        for row in converted
    ]
    with staged_folder(out) as staged:
        write_json(staged / RESULT_FILE, result.to_dict())
        plot_sweep(points, main.value_in(dense.metrics), main, staged / PICTURE)
