"""A dense network in, a separable copy of it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from dsft.choices import AUTO, Form, Method, Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.apply import apply_plan
from dsft.conversion.discovery.dense_kernel import dense_kernel
from dsft.conversion.discovery.preconditions import copied, require_ready, unwrapped
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import METHODS, AnyFactors, Weighting
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.planning.accuracy_search import Trial, meet_max_drop
from dsft.conversion.planning.layer_latency import Clock
from dsft.conversion.planning.planner import plan_conversion
from dsft.conversion.reconstruction.bn_recalibration import hold_out, recalibrate_batchnorm
from dsft.conversion.reconstruction.calibration_data import Calibration, read_calibration
from dsft.conversion.reconstruction.fisher import SampledLoss, collect_fisher, emphasize_late_layers
from dsft.conversion.reconstruction.layerwise import reconstruct_layers
from dsft.conversion.report import ConversionReport, report_costs
from dsft.conversion.request import SEPARABLE, AnyBudget, Rank, Request, read_setting, read_words
from dsft.devices import Compute, layout_of
from dsft.errors import ConversionError
from dsft.losses import sampled_cross_entropy
from dsft.measure.example import ExampleInput, run_example
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task


@dataclass(frozen=True)
class Conversion:
    """A converted network.

    Attributes:
        model: The converted copy; the original is untouched, ready to be the teacher.
        plan: What each convolution became and why.
        report: Cost before and after, of the whole and of each layer, and the error.
    """

    model: nn.Module
    plan: ConversionPlan
    report: ConversionReport


@torch.inference_mode(mode=False)  # what is made in it could never be trained
def convert(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    calibration: Calibration | None = None,
    budget: AnyBudget | None = None,
    score: Callable[[nn.Module], float] | None = None,
    rank: Rank | None = None,
    method: str = AUTO,
    structures: Sequence[str] = SEPARABLE,
    form: str = AUTO,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    norm_between: bool = False,
    only_faster: bool = False,
    seed: int = 0,
    report: Report = ignore,
) -> Conversion:
    """Swap the standard convolutions of a network for depthwise-separable ones, in a copy.

    Args:
        model: Any network; it is left as it was. What ``torch.compile`` or data parallelism wraps is unwrapped;
            wrap what comes out again. Convolutions whose weight is normalised or standardised in each pass start
            from that weight, and training no longer normalises it.
        example_input: What it takes, on its device: a tensor, a list that is its one argument, a tuple of
            positional or a dict of keyword arguments. Shapes, costs and times are those of this input.
        calibration: Batches as the network takes them, preprocessed and without labels: what the weights are fitted
            to, a few hundred images of the training data. They are held in memory.
        budget: Share of a cost that may be left, 0 to 1: ``{"macs": f}`` for the multiply-accumulates of the whole
            network, ``{"params": f}`` for its parameters, ``{"latency": f}`` for the time of one pass, measured
            on the device with one thread. ``"runtime": "onnxruntime"`` beside it has whatever is measured run
            there instead of in torch itself. Or ``{"max_drop": p, "by": "macs"}``: the
            smallest cost at which the network loses at most p points of its ``score``.
        score: Scores a network in points, more is better, such as top-1 in percent on validation images; with
            ``max_drop`` only. It gets the network and about ten converted copies.
        rank: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``), alike in every
            layer, or ``"full"``. Exactly one of ``budget`` and ``rank`` is given.
        method: ``refit`` keeps the weights and fits them to what the network does with the calibration data, ``svd``
            keeps them without data, ``fresh`` draws new ones; ``auto`` is ``refit`` where there is calibration data,
            else ``svd``.
        structures: What a convolution may be replaced by: ``dw_pw`` and ``pw_dw``, and for 1x1 kernels ``low_rank``.
            Under a budget each layer gets the one with the smallest error at its cost; with ``rank`` it gets the first
            one that fits.
        form: How an input channel reaches several kernels: ``multiplier``, ``concatenate``, ``gather`` or
            ``passes``, wherever a layer can take it; ``auto`` takes for each layer what measures fastest.
            Times of layers are kept in a cache folder, ``$DSFT_CACHE``.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        norm_between: Put a norm and an activation between the two convolutions; with ``fresh`` only.
        only_faster: Keep dense what measures no faster.
        seed: Seed of ``fresh``.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: The request is contradictory, or cannot be met; the message names the way out.
        ModelError: The runtime is not installed, or cannot run the network.
    """
    request = Request(
        budget=budget,
        rank=rank,
        method=read_setting("method", method, Method),
        structures=read_words("structures", structures, Structure),
        form=read_setting("form", form, Form),
        include=include,
        exclude=exclude,
        norm_between=norm_between,
        only_faster=only_faster,
        seed=seed,
    )
    if (request.max_drop is None) != (score is None):
        found = "no score" if score is None else f"a score with budget {budget!r}"
        raise ConversionError(
            f"score: a function that scores a network in points goes with budget={{'max_drop': 1.0}}, and is needed "
            f"there, found {found}."
        )
    model = unwrapped(model)
    require_ready(model)
    compute = _compute_of(model)
    clock = Clock(compute, request.runtime, norm_between=norm_between, report=report)
    batches = read_calibration(calibration, model) if calibration is not None else []

    weightings: dict[str, Weighting] = {}

    def attempt(request: Request) -> tuple[nn.Module, ConversionPlan]:
        prepared = prepare(model, example_input, request, batches, clock=clock, known=weightings, report=report)
        return realise(model, prepared, example_input, batches, seed, report)

    trials: tuple[Trial, ...] = ()
    if request.max_drop is not None and score is not None:
        (converted, plan), trials = meet_max_drop(
            request, request.max_drop, attempt, lambda made: score(made[0]), score(model), report
        )
    else:
        converted, plan = attempt(request)
    costs = report_costs(model, converted, plan, example_input, compute, request.runtime, report)
    return Conversion(converted, plan, replace(costs, trials=trials))


@dataclass(frozen=True)
class Prepared:
    """A conversion that is planned and not done.

    Attributes:
        plan: What becomes of each convolution.
        weightings: What a change of each kernel costs, where it was measured, by name.
    """

    plan: ConversionPlan
    weightings: Mapping[str, Weighting]


def prepare(
    model: nn.Module,
    example_input: ExampleInput,
    request: Request,
    batches: Sequence[ExampleInput] = (),
    *,
    is_trained: bool = True,
    clock: Clock | None = None,
    known: dict[str, Weighting] | None = None,
    report: Report = ignore,
    sampled_loss: SampledLoss = sampled_cross_entropy,
) -> Prepared:
    """Plan a conversion, after a look at the network at work where the method is a refit.

    Args:
        model: The dense network.
        example_input: What it takes.
        request: What the conversion is asked for.
        batches: Calibration data; needed for the method ``refit``, and only for it.
        is_trained: The weights mean something.
        clock: Measures what the plan needs; see :func:`plan_conversion`.
        known: Weightings that were measured for an earlier plan of the same network, filled here where it is empty.
        report: Receives the progress.
        sampled_loss: What the network's answers mean, where they are one row of class scores for each image.

    Raises:
        ConversionError: The plan cannot be made, or the calibration data does not go with the method.
    """
    _check_calibration(request.choose_method(has_calibration=bool(batches)), batches)
    weightings = {} if known is None else known

    def weigh(sites: Sequence[Site]) -> Mapping[str, Weighting]:
        if not weightings:
            measured = collect_fisher(model, sites, batches, request.seed, report, sampled_loss)
            weightings.update(emphasize_late_layers(measured))
        return weightings

    plan = plan_conversion(
        model,
        example_input,
        request,
        is_trained=is_trained,
        clock=clock,
        weigh=weigh if batches else None,
        report=report,
    )
    return Prepared(plan, weightings)


def realise(
    model: nn.Module,
    prepared: Prepared,
    example_input: ExampleInput,
    batches: Sequence[ExampleInput] = (),
    seed: int = 0,
    report: Report = ignore,
) -> tuple[nn.Module, ConversionPlan]:
    """Return a converted copy of a network, and its plan with the errors that a refit has measured.

    Args:
        model: The dense network; it is left as it was.
        prepared: Its plan.
        example_input: What it takes.
        batches: Calibration data, where the method is a refit.
        seed: Seed of the methods that draw weights.
        report: Receives the progress.
    """
    plan = prepared.plan
    converted = apply_plan(copied(model), plan, derive_factors(model, plan, seed, prepared.weightings, report))
    _check_all_run(converted, plan, example_input)
    if plan.method is not Method.REFIT:
        return converted, plan
    fitted, held_out = hold_out(batches)
    errors = reconstruct_layers(model, converted, plan, fitted, prepared.weightings, report)
    recalibrate_batchnorm(model, converted, fitted, held_out, report)
    layers = [replace(layer, relative_error=errors.get(layer.name, layer.relative_error)) for layer in plan.layers]
    return converted, replace(plan, layers=tuple(layers))


def choose_method(method: str, *, has_calibration: bool) -> Method:
    """Return the method of that name; ``auto`` is ``refit`` where there is calibration data, else ``svd``.

    Raises:
        ConversionError: There is no such method.
    """
    chosen = read_setting("method", method, Method)
    if chosen != AUTO:
        return Method(chosen)
    return Method.REFIT if has_calibration else Method.SVD


def _check_calibration(method: Method, batches: Sequence[ExampleInput]) -> None:
    if method is Method.REFIT and not batches:
        raise ConversionError(
            "method refit: fits the weights to calibration data, found none. Give some, or use method=svd, which needs "
            "no data."
        )
    if method is not Method.REFIT and batches:
        raise ConversionError(
            f"calibration: goes with the method refit, found method {str(method)!r}. Leave one of the two out."
        )


def derive_factors(
    model: nn.Module,
    plan: ConversionPlan,
    seed: int = 0,
    weightings: Mapping[str, Weighting] | None = None,
    report: Report = ignore,
) -> dict[str, AnyFactors]:
    """Derive the weights of every layer that a plan converts.

    Args:
        model: The dense network.
        plan: Its plan.
        seed: Seed of the methods that draw weights.
        weightings: What a change of each kernel costs, as the plan was made with, by name.
        report: Receives the progress over the layers.
    """
    method = METHODS[plan.method]
    generator = torch.Generator().manual_seed(seed)
    factors: dict[str, AnyFactors] = {}
    summary = f"factorized {plural(len(plan.converted), 'layer')} by {plan.method}"
    with report_task(report, "factorizing layers", len(plan.converted), "layers", summary) as advance:
        for done, layer in enumerate(plan.converted, start=1):
            dense = model.get_submodule(layer.name)
            assert isinstance(dense, Convolution)  # noqa: S101 (the plan was made from this network)
            kernel, weighting = dense_kernel(dense), (weightings or {}).get(layer.name)
            if layer.structure is Structure.LOW_RANK:
                factors[layer.name] = method.low_rank(kernel, dense.groups, layer.kernels[0], generator, weighting)
            else:
                structure = layer.replacement
                factors[layer.name] = method.separable(
                    kernel, dense.groups, layer.kernels, generator, structure, weighting
                )
            advance(done)
    return factors


def _check_all_run(model: nn.Module, plan: ConversionPlan, example_input: ExampleInput) -> None:
    """Check that the network runs its new layers: something the module tree does not show may hold the old ones."""
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
            f"layer {idle[0]!r}: the network still runs the old convolution, so something besides the module tree "
            f"holds it. Exclude it: exclude={idle!r}."
        )


def _compute_of(model: nn.Module) -> Compute:
    """Return the device that a network is on and the layout that its kernels are in."""
    parameters = list(model.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    return Compute(device, channels_last=any(layout_of(each) is torch.channels_last for each in parameters))
