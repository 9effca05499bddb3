"""The conversion of one network, from its analysis to the converted copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from dsft.conversion.apply import apply_plan
from dsft.conversion.calibration_set import CalibrationSet
from dsft.conversion.discovery.preconditions import copy_network, unwrap_network
from dsft.conversion.factorization import METHODS
from dsft.conversion.factorize import factorize_layers
from dsft.conversion.history import ConversionHistory
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.planning.accuracy_search import Search, find_cheapest
from dsft.conversion.planning.analysis import NetworkAnalysis, analyze_network
from dsft.conversion.planning.layer_latency import LayerLatency
from dsft.conversion.planning.planner import Planner
from dsft.conversion.reconstruct import reconstruct_network
from dsft.conversion.request import Request
from dsft.devices import Compute, layout_of
from dsft.errors import ConversionError
from dsft.measure.example import ExampleInput, run_example, with_batch_size
from dsft.progress import Report, ignore


@dataclass(frozen=True)
class Converted:
    """A converted network.

    Attributes:
        model: The converted copy.
        plan: What each convolution became.
        history: How it came about.
    """

    model: nn.Module
    plan: ConversionPlan
    history: ConversionHistory = field(default_factory=ConversionHistory)


class Converter:
    """Converts one network, for any number of budgets: what is measured of it is measured once.

    Args:
        model: The dense network; it is not changed.
        example_input: Its input, on its device.
        request: The settings of the conversion.
        calibration: Calibration data; needed by the method ``refit``, and only by it.
        compute: Where and how the network runs; None for the device and layout that it is in.
        is_trained: The weights are trained; otherwise a budget adds kernels to all channels of a layer at once.
        report: Receives the progress.

    Raises:
        ConversionError: The settings and the calibration data contradict each other, or the network cannot be
            converted; see :func:`~dsft.conversion.planning.analysis.analyze_network`.
    """

    def __init__(
        self,
        model: nn.Module,
        example_input: ExampleInput,
        request: Request,
        *,
        calibration: CalibrationSet | None = None,
        compute: Compute | None = None,
        is_trained: bool = True,
        report: Report = ignore,
    ) -> None:
        check_calibration(request, has_calibration=calibration is not None)
        started = time.monotonic()
        model = unwrap_network(model)
        self._request, self._calibration, self._report = request, calibration, report
        self.analysis: NetworkAnalysis = analyze_network(
            model,
            with_batch_size(example_input, request.batch_size),
            request,
            is_trained=is_trained,
            weigh=None if calibration is None else calibration.weightings,
            report=report,
        )
        self.compute = compute_of(model) if compute is None else compute
        latency = LayerLatency(
            self.compute, request.runtime, request.threads, norm_between=request.norm_between, report=report
        )
        self._planner = Planner(self.analysis, request, latency, report)
        self._analyzed, self._planned = time.monotonic() - started, 0.0

    def plan(self, share: float | None = None) -> ConversionPlan:
        """Return a plan; see :meth:`dsft.conversion.planning.planner.Planner.plan`."""
        if share is None and self._request.max_drop is not None:
            raise ConversionError(
                "budget max_drop: no plan meets it by itself, since converted networks must be scored. Pass a score."
            )
        started = time.monotonic()
        plan = self._planner.plan(share)
        self._planned = time.monotonic() - started
        return plan

    @torch.inference_mode(mode=False)  # tensors created in inference mode could not be trained
    def convert(self, plan: ConversionPlan | None = None) -> Converted:
        """Return a converted copy of the network.

        Args:
            plan: What becomes of each convolution; None plans for the request.

        Returns:
            The copy, and its plan with the errors that remain after a fit to calibration data.
        """
        plan = self.plan() if plan is None else plan
        model, report = self.analysis.model, self._report
        if not plan.converted:
            return Converted(copy_network(model), plan)
        # A recovery may take twice the time until it begins: analysis, the last plan, and what follows.
        started = time.monotonic() - self._analyzed - self._planned
        factors = factorize_layers(
            model,
            plan,
            seed=self._request.seed,
            weightings=self.analysis.weightings,
            spectra=self.analysis.spectra(plan),
            report=report,
        )
        converted = apply_plan(copy_network(model), plan, factors)
        _check_all_run(converted, plan, self.analysis.example_input)
        if self._calibration is None:
            return Converted(converted, plan)
        done = reconstruct_network(
            model,
            converted,
            plan,
            self._calibration.batches,
            self.analysis.weightings,
            report,
            recover=self._request.recover,
            seed=self._request.seed,
            started=started,
        )
        return Converted(converted, done.plan, ConversionHistory(recovery=done.recovery))

    def convert_within(self, score: Callable[[nn.Module], float] | None) -> Converted:
        """Return a converted copy that meets the request, of which the loss of score may be a part.

        Args:
            score: Scores a network in points, more is better; needed where the loss of score is limited.
        """
        require_score(self._request, has_score=score is not None)
        drop = self._request.max_drop
        if drop is None or score is None:
            return self.convert()
        search = Search(
            attempt=lambda share: self.convert(self.plan(share)),
            score=lambda converted: score(converted.model),
            original_score=score(self.analysis.model),
            least=self._planner.least_share(),
        )
        converted, trials = find_cheapest(drop, search, self._report)
        return replace(converted, history=replace(converted.history, trials=trials))


def require_score(request: Request, *, has_score: bool) -> None:
    """Check that a score is given where the loss of score is limited, and nowhere else.

    Raises:
        ConversionError: It is missing, or of no use.
    """
    if (request.max_drop is not None) != has_score:
        found = "a score without max_drop" if has_score else "no score"
        raise ConversionError(
            f"score: a function that scores a network in points goes with budget={{'max_drop': 1.0}}, and is needed "
            f"there, found {found}."
        )


def compute_of(model: nn.Module) -> Compute:
    """Return the device and the memory layout of a network's parameters."""
    parameters = list(model.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    return Compute(device, channels_last=any(layout_of(each) is torch.channels_last for each in parameters))


def check_calibration(request: Request, *, has_calibration: bool) -> None:
    """Check that there is calibration data if the method needs it, and only then.

    Raises:
        ConversionError: It is missing, or of no use.
    """
    method = request.choose_method(has_calibration=has_calibration)
    needs_data = METHODS[method].needs_calibration
    if needs_data and not has_calibration:
        raise ConversionError(
            f"method {method}: fits the weights to calibration data, found none. Pass calibration, or use method=svd, "
            "which needs no data."
        )
    if request.recover is not None and not needs_data:
        raise ConversionError(
            f"recover: trains on calibration data, and goes with the method refit, found method {str(method)!r}. Pass "
            "calibration, or remove recover."
        )
    if not needs_data and has_calibration:
        raise ConversionError(
            f"calibration: goes with the method refit, found method {str(method)!r}. Remove one of the two."
        )


def _check_all_run(model: nn.Module, plan: ConversionPlan, example_input: ExampleInput) -> None:
    """Check that the network runs its new layers and not the old convolutions.

    Raises:
        ConversionError: It runs an old one, to which something besides the module tree must hold a reference.
    """
    ran: set[nn.Module] = set()
    layers = {layer.name: model.get_submodule(layer.name) for layer in plan.converted}
    handles = [layer.register_forward_pre_hook(lambda module, _: ran.add(module)) for layer in layers.values()]
    try:
        run_example(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    if idle := [name for name, layer in layers.items() if layer not in ran]:
        raise ConversionError(
            f"layer {idle[0]!r}: the network still runs the old convolution, which must be referenced outside the "
            f"module tree. Exclude it: exclude={idle!r}."
        )
