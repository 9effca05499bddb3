"""A dense network in, a separable copy of it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dsft.choices import Method, Order
from dsft.derive import DERIVATIONS, Factors
from dsft.devices import Compute
from dsft.errors import ConversionError, did_you_mean
from dsft.measure.example import ExampleInput, run_example
from dsft.progress import Advanced, Finished, Report, Started, ignore
from dsft.surgery.apply import apply_plan
from dsft.surgery.cost_report import ConversionReport, report_costs
from dsft.surgery.dense import effective_weight
from dsft.surgery.plan import ConversionPlan
from dsft.surgery.planning import Rank, plan_conversion
from dsft.surgery.ready import copied, unwrapped


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


def convert(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    budget: Mapping[str, float] | None = None,
    rank: Rank | None = None,
    method: str = Method.AUTO,
    order: str = Order.AUTO,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
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
        budget: ``{"macs": f}``: share of the network's multiply-accumulates that may be left, 0 to 1.
        rank: Depthwise kernels of each input channel, alike in every layer, or ``"full"``. Exactly one of
            ``budget`` and ``rank`` is given.
        method: ``svd`` keeps the weights, ``fresh`` draws new ones, ``auto`` is ``svd``.
        order: ``dw_pw``, which is also ``auto``.
        include: Patterns of the layers that may be converted.
        exclude: Patterns of the layers that stay dense.
        seed: Seed of ``fresh``.
        report: Receives the progress over the layers.

    Raises:
        ConversionError: The request is contradictory, or cannot be met; the message names the way out.
    """
    chosen = _choose_method(method)
    model = unwrapped(model)
    plan = plan_conversion(
        model,
        example_input,
        budget=_macs_share(budget),
        rank=rank,
        method=chosen,
        order=_choose_order(order),
        include=include,
        exclude=exclude,
        report=report,
    )
    converted = apply_plan(copied(model), plan, derive_factors(model, plan, seed, report))
    _check_all_run(converted, plan, example_input)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    costs = report_costs(model, converted, plan, example_input, Compute(device), report)
    return Conversion(converted, plan, costs)


def derive_factors(
    model: nn.Module, plan: ConversionPlan, seed: int = 0, report: Report = ignore
) -> dict[str, Factors]:
    """Derive the weights of every layer that a plan converts.

    Args:
        model: The dense network.
        plan: Its plan.
        seed: Seed of the methods that draw weights.
        report: Receives the progress over the layers.
    """
    derive = DERIVATIONS[plan.method]
    generator = torch.Generator().manual_seed(seed)
    task, factors = "converting", {}
    report(Started(task, len(plan.converted), "layers"))
    for done, layer in enumerate(plan.converted, start=1):
        dense = model.get_submodule(layer.name)
        assert isinstance(dense, nn.Conv2d)  # noqa: S101 (the plan was made from this network)
        factors[layer.name] = derive(effective_weight(dense), dense.groups, layer.kernels, generator)
        report(Advanced(task, done))
    report(Finished(task))
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


def _choose_method(method: str) -> Method:
    if method not in list(Method):
        raise ConversionError(
            f"method: one of {', '.join(Method)} is needed, found {method!r}.{did_you_mean(method, Method)}"
        )
    return Method.SVD if method == Method.AUTO else Method(method)


def _choose_order(order: str) -> Order:
    if order not in list(Order):
        raise ConversionError(
            f"order: one of {', '.join(Order)} is needed, found {order!r}.{did_you_mean(order, Order)}"
        )
    return Order(order)


def _macs_share(budget: Mapping[str, float] | None) -> float | None:
    if budget is None:
        return None
    if not isinstance(budget, Mapping) or list(budget) != ["macs"] or not isinstance(budget["macs"], int | float):
        raise ConversionError(f"budget: one key, macs, with a number is needed, as {{'macs': 0.5}}, found {budget!r}.")
    return budget["macs"]
