"""What a conversion costs and saves: measured, layer by layer and as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dsft.choices import Decision, Reason, Runtime, Structure
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.planning.accuracy_search import Trial
from dsft.devices import Compute
from dsft.measure import count_macs, count_parameters
from dsft.measure.example import ExampleInput
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task
from dsft.runtimes import MeasuredOn, compare_latency, measured_on, median_times, open_runs

LAYER_SECONDS = 0.1
"""How long the comparison of one layer lasts."""


@dataclass(frozen=True)
class ModelCost:
    """Multiply-accumulates for one image, parameters, and the time of one pass in milliseconds."""

    macs: int
    params: int
    latency_ms: float


@dataclass(frozen=True)
class LayerReport:
    """What became of one convolution; times in milliseconds, None where it is kept."""

    name: str
    decision: Decision
    reason: Reason
    structure: Structure | None
    order: Structure | None
    kernels: int | None
    width: int | None
    macs_before: int
    macs_after: int
    relative_error: float | None
    latency_ms_before: float | None
    latency_ms_after: float | None


@dataclass(frozen=True)
class ConversionReport:
    """Cost before and after, and the budgets that were tried; ``to_dict`` is the content of ``conversion.json``."""

    original: ModelCost
    converted: ModelCost
    measured_on: MeasuredOn
    layers: tuple[LayerReport, ...]
    trials: tuple[Trial, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


def report_costs(
    original: nn.Module,
    converted: nn.Module,
    plan: ConversionPlan,
    example_input: ExampleInput,
    compute: Compute,
    runtime: Runtime = Runtime.EAGER,
    report: Report = ignore,
) -> ConversionReport:
    """Measure a network before and after its conversion, in turn and with one thread.

    Args:
        original: The dense network.
        converted: What became of it.
        plan: How.
        example_input: What both take, on the device.
        compute: The device, number format and layout.
        runtime: What runs them.
        report: Receives the progress over the layers.
    """
    pair = (original, converted)
    times = compare_latency(pair, [example_input] * 2, compute, runtime=runtime)
    before, after = (
        ModelCost(count_macs(module, example_input), count_parameters(module), time)
        for module, time in zip(pair, times, strict=True)
    )
    sites = {site.name: site for site in find_sites(original, example_input)}
    times_of = _time_layers(plan, sites, converted, compute, runtime, report)
    layers = tuple(_report_layer(layer, times_of.get(layer.name)) for layer in plan.layers)
    return ConversionReport(before, after, measured_on(original, example_input, compute, runtime), layers)


def _time_layers(
    plan: ConversionPlan,
    sites: Mapping[str, Site],
    converted: nn.Module,
    compute: Compute,
    runtime: Runtime,
    report: Report,
) -> dict[str, tuple[float, ...]]:
    """Return the milliseconds before and after of each converted layer."""
    names = [layer.name for layer in plan.converted]
    if not names:
        return {}
    modules = [module for name in names for module in (sites[name].module, converted.get_submodule(name))]
    images = [image for name in names for image in [_images_like(sites[name])] * 2]
    times = {}
    summary = f"timed {plural(len(names), 'layer')} before and after"
    with (
        report_task(report, "timing layers", len(names), "layers", summary) as advance,
        open_runs(modules, images, compute, runtime) as runs,
    ):
        for done, name in enumerate(names, start=1):
            times[name] = median_times(runs[2 * done - 2 : 2 * done], compute.device, LAYER_SECONDS)
            advance(done)
    return times


def _images_like(site: Site) -> Tensor:
    weight = site.module.weight
    images = torch.zeros(site.input_shapes[0], device=weight.device, dtype=weight.dtype)
    is_last = images.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return images.to(memory_format=torch.channels_last) if is_last else images


def _report_layer(layer: LayerPlan, times: tuple[float, ...] | None) -> LayerReport:
    before, after = times or (None, None)
    return LayerReport(
        name=layer.name,
        decision=layer.decision,
        reason=layer.reason,
        structure=layer.structure,
        order=layer.order,
        kernels=sum(layer.kernels) if layer.is_converted else None,
        width=None,
        macs_before=layer.macs_before,
        macs_after=layer.macs_after,
        relative_error=layer.relative_error,
        latency_ms_before=before,
        latency_ms_after=after,
    )
