"""What a conversion costs and saves: measured, layer by layer and as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from dsft.choices import Decision, Order, Reason, Structure
from dsft.devices import Compute
from dsft.measure import MeasuredOn, compare_latency, count_macs, count_parameters, measured_on
from dsft.measure.example import ExampleInput
from dsft.progress import Advanced, Finished, Report, Started, ignore
from dsft.surgery.drop_search import Trial
from dsft.surgery.plan import ConversionPlan, LayerPlan
from dsft.surgery.sites import Site, find_sites

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
    order: Order | None
    kernels: int | None
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
    report: Report = ignore,
) -> ConversionReport:
    """Measure a network before and after its conversion, in turn and with one thread.

    Args:
        original: The dense network.
        converted: What became of it.
        plan: How.
        example_input: What both take, on the device.
        compute: The device, number format and layout.
        report: Receives the progress over the layers.
    """
    pair = (original, converted)
    times = compare_latency(pair, [example_input] * 2, compute)
    before, after = (
        ModelCost(count_macs(module, example_input), count_parameters(module), time)
        for module, time in zip(pair, times, strict=True)
    )
    sites = {site.name: site for site in find_sites(original, example_input)}
    task, layers = "timing", []
    report(Started(task, len(plan.layers), "layers"))
    for done, layer in enumerate(plan.layers, start=1):
        layers.append(_report_layer(layer, sites[layer.name], converted, compute))
        report(Advanced(task, done))
    report(Finished(task))
    return ConversionReport(before, after, measured_on(original, example_input, compute), tuple(layers))


def _report_layer(layer: LayerPlan, site: Site, converted: nn.Module, compute: Compute) -> LayerReport:
    before = after = None
    if layer.is_converted:
        weight = site.module.weight
        images = torch.zeros(site.input_shapes[0], device=weight.device, dtype=weight.dtype)
        if images.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            images = images.to(memory_format=torch.channels_last)
        pair = [site.module, converted.get_submodule(layer.name)]
        before, after = compare_latency(pair, [images, images], compute, LAYER_SECONDS)
    return LayerReport(
        name=layer.name,
        decision=layer.decision,
        reason=layer.reason,
        structure=layer.structure,
        order=layer.order,
        kernels=sum(layer.kernels) if layer.is_converted else None,
        macs_before=layer.macs_before,
        macs_after=layer.macs_after,
        relative_error=layer.relative_error,
        latency_ms_before=before,
        latency_ms_after=after,
    )
