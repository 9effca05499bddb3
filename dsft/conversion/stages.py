"""The stages of a conversion one by one: plan, factorize, apply, reconstruct."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from dsft.choices import Reason, TaskName
from dsft.conversion.calibration_set import CalibrationSet
from dsft.conversion.converter import check_calibration
from dsft.conversion.discovery.preconditions import unwrap_network
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.factorization import METHODS, AnyFactors
from dsft.conversion.factorize import factorize_layers
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.planning.accuracy_search import Search, find_cheapest
from dsft.conversion.planning.analysis import analyze_network
from dsft.conversion.planning.layer_latency import LayerLatency
from dsft.conversion.planning.planner import Planner
from dsft.conversion.reconstruct import reconstruct_network
from dsft.conversion.reconstruction.calibration_data import Calibration
from dsft.conversion.request import Request, read_recover
from dsft.errors import ConversionError
from dsft.measure.example import ExampleInput, with_batch_size
from dsft.progress import Report, warn

AnyCalibration = Calibration | CalibrationSet
"""Calibration data, or a :class:`~dsft.conversion.CalibrationSet` of it, whose statistics are measured once."""

_ELIGIBLE = (Reason.BUDGET, Reason.RANK, Reason.WITHIN_BUDGET, Reason.NOT_CHEAPER, Reason.NOT_FASTER)
"""The reasons of layers that could be converted, with which a plan was made."""


@torch.inference_mode(mode=False)  # gradients pass through the calibration data
def plan_conversion(
    model: nn.Module,
    example_input: ExampleInput,
    request: Request,
    *,
    calibration: AnyCalibration | None = None,
    latency: LayerLatency | None = None,
    score: Callable[[ConversionPlan], float] | None = None,
    task: str = TaskName.CLASSIFICATION,
    is_trained: bool = True,
    report: Report = warn,
) -> ConversionPlan:
    """Decide what becomes of each convolution of a network. Nothing is changed.

    Args:
        model: The dense network; it is run and not changed. Of a compiled or distributed network the module inside is
            planned for.
        example_input: Its input; shapes and costs are those of this input.
        request: The settings of the conversion.
        calibration: Inputs of the network, with which errors are weighted by their effect on its outputs; needed by
            the method ``refit``.
        latency: Measures the times of layers and networks, for a latency budget, for ``only_faster`` and for the
            choice of forms; without it forms are chosen by rule.
        score: Scores a plan in points, more is better, for a budget that limits the loss of score. It is called with
            the plan that converts nothing first.
        task: What the outputs of the network mean, one of :class:`dsft.choices.TaskName`.
        is_trained: The weights are trained; otherwise a budget adds kernels to all channels of a layer at once.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: The method and ``calibration`` contradict each other, a pattern matches no layer, no layer can
            be converted, the budget cannot be met, a weight is not finite, or the network is scripted, lazy or
            compiled in parts.
        ValueError: Times are needed and ``latency`` is None.
    """
    check_calibration(request, has_calibration=calibration is not None)
    statistics = None if calibration is None else _read(model, calibration, task, request.seed, report)
    analysis = analyze_network(
        model,
        with_batch_size(example_input, request.batch_size),
        request,
        is_trained=is_trained,
        weigh=None if statistics is None else statistics.weightings,
        report=report,
    )
    planner = Planner(analysis, request, latency, report)
    if request.max_drop is None:
        return planner.plan()
    if score is None:
        raise ConversionError("budget max_drop: needs a score, found none. Pass score, a function that scores a plan.")
    search = Search(planner.plan, score, score(planner.plan(1.0)), planner.least_share())
    return find_cheapest(request.max_drop, search, report)[0]


@torch.inference_mode(mode=False)  # tensors created in inference mode could not be trained
def factorize(
    model: nn.Module,
    plan: ConversionPlan,
    calibration: AnyCalibration | None = None,
    *,
    task: str = TaskName.CLASSIFICATION,
    seed: int = 0,
    report: Report = warn,
) -> dict[str, AnyFactors]:
    """Derive the weights of every layer that a plan converts from the weights of the network.

    Args:
        model: The dense network.
        plan: Its plan.
        calibration: Inputs of the network; needed where the plan's method is ``refit``, and only there.
        task: What the outputs of the network mean, one of :class:`dsft.choices.TaskName`.
        seed: Seed of random weights, and of the labels sampled from the outputs.
        report: Receives the progress over the layers.

    Returns:
        The factors by the names of the layers, for :func:`dsft.apply_plan`.

    Raises:
        ConversionError: The plan was made for another network, or its method and ``calibration`` contradict each other.
    """
    model = unwrap_network(model)
    if calibration is None:
        return factorize_layers(model, plan, seed=seed, report=report)
    if not METHODS[plan.method].needs_calibration:
        raise ConversionError(
            f"calibration: goes with the method refit, and the plan was made with the method {plan.method}. Leave it "
            "out, or plan with it."
        )
    statistics = _read(model, calibration, task, seed, report)
    weightings = statistics.weightings(_planned_sites(model, plan, statistics.batches))
    return factorize_layers(model, plan, seed=seed, weightings=weightings, report=report)


@torch.inference_mode(mode=False)  # tensors created in inference mode could not be trained
def reconstruct(
    model: nn.Module,
    converted: nn.Module,
    plan: ConversionPlan,
    calibration: AnyCalibration,
    *,
    recover: bool | int = False,
    task: str = TaskName.CLASSIFICATION,
    seed: int = 0,
    report: Report = warn,
) -> ConversionPlan:
    """Fit the layers of a converted network to the outputs of the original on calibration data, in place.

    This is what the method ``refit`` does after :func:`dsft.apply_plan`.

    Args:
        model: The dense network.
        converted: The converted copy.
        plan: Its plan, made with the method ``refit``.
        calibration: Inputs of the networks.
        recover: Then take gradient steps, see :func:`dsft.convert`.
        task: What the outputs of the network mean, one of :class:`dsft.choices.TaskName`.
        seed: Seed of the labels sampled from the outputs.
        report: Receives the progress over the layers.

    Returns:
        The plan with the relative errors of the layers' outputs that remain.

    Raises:
        ConversionError: The plan was made with another method, or a layer has values that are not finite.
    """
    if not METHODS[plan.method].needs_calibration:
        raise ConversionError(
            f"plan: was made with the method {plan.method}, which does not fit weights to data. Pass calibration to "
            "plan_conversion."
        )
    model = unwrap_network(model)
    statistics = _read(model, calibration, task, seed, report)
    weightings = statistics.weightings(_planned_sites(model, plan, statistics.batches))
    done = reconstruct_network(
        model, converted, plan, statistics.batches, weightings, report, recover=read_recover(recover), seed=seed
    )
    return done.plan


def _read(
    model: nn.Module,
    calibration: AnyCalibration,
    task: str,
    seed: int,
    report: Report,
) -> CalibrationSet:
    if isinstance(calibration, CalibrationSet):
        return calibration
    return CalibrationSet.read(model, calibration, task, seed, report)


def _planned_sites(model: nn.Module, plan: ConversionPlan, batches: Sequence[ExampleInput]) -> list[Site]:
    """Return the convolutions that the plan chose among, so that they get the weightings that it was made with."""
    names = {layer.name for layer in plan.layers if layer.reason in _ELIGIBLE}
    return [site for site in find_sites(model, batches[0]) if site.name in names]
