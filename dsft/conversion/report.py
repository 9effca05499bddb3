"""The costs of a network before and after its conversion, of the whole and of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from dsft.choices import Decision, Reason, Runtime, Structure
from dsft.compat.torch_pytree import tree_leaves
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.history import ConversionHistory
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.planning.accuracy_search import Trial
from dsft.conversion.reconstruction.recovery import Recovery
from dsft.devices import Compute
from dsft.measure import count_macs, count_parameters
from dsft.measure.example import ExampleInput, run_example
from dsft.number_format import plural
from dsft.progress import Report, Warn, ignore, report_task
from dsft.runtimes import MeasuredOn, compare_latency, measured_on, median_times, open_runs
from dsft.separable import FactoredConv

LAYER_SECONDS = 0.1
"""Duration of the comparison of one layer."""


@dataclass(frozen=True)
class ModelCost:
    """Multiply-accumulates for one image, parameters, and the time of one forward pass in milliseconds."""

    macs: int
    params: int
    latency_ms: float


@dataclass(frozen=True)
class LayerReport:
    """What became of one convolution.

    Attributes:
        name: Its dotted name.
        decision: Whether it was converted.
        reason: Why.
        structure: What replaced it; None where it was kept.
        order: The same for ``dw_pw`` and ``pw_dw``; None for any other structure.
        kernels: Kernels of all channels or groups together; None where it was kept.
        width: Depthwise kernels of a ``pw_dw_pw`` layer; None for any other structure.
        macs_before: Multiply-accumulates for one image.
        macs_after: The same after the conversion.
        relative_error: See :class:`~dsft.conversion.plan.LayerPlan`.
        latency_ms_before: Time in milliseconds; None where it was kept.
        latency_ms_after: The same after the conversion.
    """

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
    """Costs before and after a conversion; ``to_dict`` is the content of ``conversion.json``.

    Attributes:
        original: Costs of the dense network.
        converted: Costs of the converted network.
        measured_on: What the times were measured on.
        layers: Every convolution.
        trials: The budgets that were tried, where the loss of score was limited.
        recovery: What the recovery did; None without one.
        data_dependent: Modules that ran on other sizes in the converted network than in the original, since these
            depend on values, such as the number of boxes. Their multiply-accumulates are those at the sizes of the
            original; times are those of each network's own sizes.
    """

    original: ModelCost
    converted: ModelCost
    measured_on: MeasuredOn
    layers: tuple[LayerReport, ...]
    trials: tuple[Trial, ...] = ()
    recovery: Recovery | None = None
    data_dependent: tuple[str, ...] = ()

    def with_history(self, history: ConversionHistory) -> Self:
        """Return the report with how the conversion came about."""
        return replace(self, trials=history.trials, recovery=history.recovery)

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
    threads: int = 1,
    *,
    report: Report = ignore,
    sites: Mapping[str, Site] | None = None,
) -> ConversionReport:
    """Measure a network before and after its conversion, in interleaved runs.

    Args:
        original: The dense network.
        converted: The converted network.
        plan: Its plan.
        example_input: The input of both, on the device.
        compute: The device, data type and memory layout.
        runtime: Runtime for the measurements.
        threads: Number of threads per operator.
        report: Receives the progress over the layers.
        sites: The convolutions of the original by name; None finds them here.
    """
    pair = (original, converted)
    times = compare_latency(pair, [example_input] * 2, compute, runtime=runtime, threads=threads)
    before, after = (
        ModelCost(count_macs(module, example_input), count_parameters(module), time)
        for module, time in zip(pair, times, strict=True)
    )
    changed: tuple[str, ...] = ()
    if after.macs != plan.macs_after and (changed := _other_sizes(original, converted, example_input)):
        after = replace(after, macs=plan.macs_after)
        report(Warn(_explain_sizes(changed)))
    if sites is None:
        sites = {site.name: site for site in find_sites(original, example_input)}
    where = measured_on(original, example_input, compute, runtime, threads)
    times_of = _time_layers(plan, sites, converted, compute, where, report)
    layers = tuple(_report_layer(layer, times_of.get(layer.name)) for layer in plan.layers)
    return ConversionReport(before, after, where, layers, data_dependent=changed)


def _other_sizes(original: nn.Module, converted: nn.Module, example_input: ExampleInput) -> tuple[str, ...]:
    """Return the names of modules with parameters that run on other sizes in the converted network."""
    before, after = (_input_shapes(model, example_input) for model in (original, converted))
    return tuple(name for name, shapes in before.items() if after.get(name, shapes) != shapes)


def _input_shapes(model: nn.Module, example_input: ExampleInput) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the inputs of each module that has parameters, call by call."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def record(name: str, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        tensors = [leaf for leaf in tree_leaves((inputs, given)) if isinstance(leaf, Tensor)]
        shapes.setdefault(name, []).extend(tuple(tensor.shape) for tensor in tensors)

    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, given, name=name: record(name, inputs, given), with_kwargs=True
        )
        for name, module in model.named_modules()
        if isinstance(module, FactoredConv) or any(True for _ in module.parameters(recurse=False))
    ]
    try:
        run_example(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _explain_sizes(names: tuple[str, ...]) -> str:
    return (
        f"{plural(len(names), 'module')}, such as {names[0]!r}, ran on other sizes after the conversion, since these "
        "depend on values, such as the number of boxes. MACs are counted at the sizes of the original network; times "
        "are those of each network's own sizes."
    )


def _time_layers(
    plan: ConversionPlan,
    sites: Mapping[str, Site],
    converted: nn.Module,
    compute: Compute,
    where: MeasuredOn,
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
        open_runs(modules, images, compute, Runtime(where.runtime), threads=where.threads) as runs,
    ):
        for done, name in enumerate(names, start=1):
            pair = runs[2 * done - 2 : 2 * done]
            times[name] = median_times(pair, compute.device, LAYER_SECONDS, where.threads)
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
        width=layer.width,
        macs_before=layer.macs_before,
        macs_after=layer.macs_after,
        relative_error=layer.relative_error,
        latency_ms_before=before,
        latency_ms_after=after,
    )
