"""What must hold of the conversion of any network: exact at full rank, right shapes at rank 1, equal when loaded."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import dsft
from dsft.artifact.manifest import read_manifest
from dsft.choices import Structure
from dsft.conversion import ConversionPlan, Request, apply_plan, factorize, plan_conversion
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.request import SEPARABLE
from dsft.errors import ConversionError
from dsft.measure import run_example
from dsft.measure.example import call
from tests.architectures import undrawn

LAYER_TOLERANCE = 1e-5
MODEL_TOLERANCE = 1e-4
DOUBLE_TOLERANCE = 1e-9
NOISE = 1e-13
BEFORE_BOXES = ("backbone", "rpn.head", "head")
"""Parts of a detection network whose outputs come before boxes are chosen, a choice that rounding may turn."""
AFTER_BOXES = "roi_heads."
"""Parts that run on the chosen boxes, of which there may be none: they are compared layer by layer alone."""


@dataclass(frozen=True)
class Checked:
    """What was found of one network.

    Attributes:
        converted: Convolutions that became separable.
        kept: Convolutions that stayed, by reason.
        layer_error: Greatest relative error of a converted layer's output at full rank.
        model_error: Relative error of the network's output at full rank.
        in_double: Whether the network's output was compared in float64, its rounding in float32 alone being
            larger than the tolerance.
    """

    converted: int
    kept: Mapping[str, int]
    layer_error: float = 0.0
    model_error: float = 0.0
    in_double: bool = False


def check_contract(
    model: nn.Module,
    example: Any,
    skeleton: Callable[[], nn.Module],
    folder: Path,
    structures: Sequence[Structure] = SEPARABLE,
) -> Checked:
    """Convert a network at full rank and at rank 1, and check all that can be checked without data.

    Args:
        model: The network, its tensors redrawn, in evaluation mode; it is converted in place at last.
        example: What it takes.
        skeleton: Builds the network once more.
        folder: Where it may be saved.
        structures: What its convolutions may become.

    Raises:
        AssertionError: The contract does not hold; the message says what does not.
    """
    try:
        plan = plan_conversion(model, example, Request(rank="full", structures=structures))
    except ConversionError:
        sites = find_sites(model, example, structures)
        if any(site.obstacle is None for site in sites):
            raise
        return Checked(0, Counter(site.obstacle.value for site in sites if site.obstacle))
    kept = Counter(layer.reason.value for layer in plan.layers if not layer.is_converted)
    full_rank = check_full_rank(model, example, plan)
    check_rank_one(model, example, full_rank.shapes, skeleton, folder, structures)
    return Checked(len(plan.converted), kept, full_rank.layer_error, full_rank.model_error, full_rank.in_double)


@dataclass(frozen=True)
class FullRank:
    """What was found at full rank.

    Attributes:
        shapes: Of the network's outputs.
        layer_error: Greatest relative error of a converted layer's output.
        model_error: Relative error of the network's output.
        in_double: Whether the latter was taken in float64.
    """

    shapes: Sequence[tuple[int, ...]]
    layer_error: float
    model_error: float
    in_double: bool


def check_full_rank(model: nn.Module, example: Any, plan: ConversionPlan) -> FullRank:
    """Check that every layer and the network compute at full rank what they did, and that every layer counts."""
    converted = converted_copy(model, plan)
    expected, errors = compare_layers(model, converted, plan, example)
    assert expected, "the network returns no tensor"
    assert all(bool(output.isfinite().all()) for output in expected), "the redrawn network's output is not finite"
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= LAYER_TOLERANCE, f"layer {worst}: relative error {errors[worst]:.1e}"
    outputs = outputs_with_gradient(converted, plan, example)
    error = distance(outputs, expected)
    in_double = not error <= MODEL_TOLERANCE
    if in_double:
        error, by_noise = error_in_double(model, plan, example)
        assert error <= max(DOUBLE_TOLERANCE, by_noise), f"the network's output: relative error {error:.1e} in float64"
    unseen = layers_without_effect(converted, plan, example, outputs)
    assert not unseen, f"zeroing {', '.join(unseen)} leaves the output as it is: the comparison is blind there"
    return FullRank([tuple(output.shape) for output in expected], errors[worst], error, in_double)


def check_rank_one(
    model: nn.Module,
    example: Any,
    shapes: Sequence[tuple[int, ...]],
    skeleton: Callable[[], nn.Module],
    folder: Path,
    structures: Sequence[Structure],
) -> None:
    """Check that a network of rank 1 returns the same shapes, and equal numbers when saved and loaded."""
    plan = plan_conversion(model, example, Request(rank=1, structures=structures))
    converted = apply_plan(model, plan, factorize(model, plan))
    outputs = raw_outputs(converted, example)
    if not is_detection(model):
        assert [tuple(output.shape) for output in outputs] == shapes, "rank 1 changes the shapes of the output"
    dsft.save(converted, folder, plan=plan)
    # The libraries' networks are built by their name alone; what is not loaded remains NaN and is seen.
    with undrawn():
        is_known = read_manifest(folder).source is not None
        loaded = dsft.load(folder, skeleton=None if is_known else skeleton())
    copy_constants(converted, loaded)
    for found, saved in zip(raw_outputs(loaded, example), outputs, strict=True):
        assert torch.equal(found, saved), "the loaded network's output differs from the saved one's"


def converted_copy(model: nn.Module, plan: ConversionPlan) -> nn.Module:
    """Return a converted copy of a network that shares with it the tensors of what is not converted."""
    tensors = [*model.parameters(), *model.buffers()]
    versions = [tensor._version for tensor in tensors]
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    converted = apply_plan(twin, plan, factorize(model, plan))
    assert versions == [tensor._version for tensor in tensors], "the conversion changes tensors of the original"
    return converted


def compare_layers(
    model: nn.Module, converted: nn.Module, plan: ConversionPlan, example: Any
) -> tuple[list[Tensor], dict[str, float]]:
    """Return a network's outputs, and the greatest relative error of each converted layer on the dense one's inputs."""
    errors: dict[str, float] = {}

    def compare(name: str, dense: nn.Module, images: Tensor, output: Tensor) -> None:
        if not output.numel():
            images = torch.randn(1, images.shape[1], *([8] * (images.dim() - 2)))
            output = dense.forward(images)
        found = converted.get_submodule(name)(images)
        assert found.shape == output.shape, f"layer {name}: shape {tuple(found.shape)}, not {tuple(output.shape)}"
        errors[name] = max(errors.get(name, 0.0), distance([found], [output]))

    handles = [
        model.get_submodule(layer.name).register_forward_hook(
            lambda dense, inputs, output, name=layer.name: compare(name, dense, inputs[0], output)
        )
        for layer in plan.converted
    ]
    try:
        outputs = raw_outputs(model, example)
    finally:
        for handle in handles:
            handle.remove()
    assert len(errors) == len(plan.converted)
    return outputs, errors


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the greatest relative distance (of the Frobenius norms) of tensors from what they should be."""
    assert [one.shape for one in found] == [one.shape for one in expected]
    return max(
        float((one.detach().double() - other.double()).norm() / other.double().norm().clamp_min(1e-30))
        for one, other in zip(found, expected, strict=True)
    )


def error_in_double(model: nn.Module, plan: ConversionPlan, example: Any) -> tuple[float, float]:
    """Return the relative error of the network's output in float64, and what noise on the layers does to it there.

    A network that multiplies its activations with each other can make even float64's rounding large. Then the error
    has to be smaller than the change that a relative noise of ``NOISE`` on the dense layers' outputs makes: they are
    exact to far less.
    """
    exact = copy.deepcopy(model).double()
    wide = torch.utils._pytree.tree_map_only(Tensor, lambda tensor: tensor.double(), example)
    expected = raw_outputs(exact, wide)
    error = distance(raw_outputs(converted_copy(exact, plan), wide), expected)
    for layer in plan.converted:
        exact.get_submodule(layer.name).register_forward_hook(
            lambda *hooked: hooked[2] * (1 + NOISE * torch.randn_like(hooked[2]))
        )
    return error, distance(raw_outputs(exact, wide), expected)


def outputs_with_gradient(converted: nn.Module, plan: ConversionPlan, example: Any) -> list[Tensor]:
    """Return a converted network's outputs, through which a gradient reaches its separable layers and nothing else."""
    separable = [converted.get_submodule(layer.name) for layer in plan.converted]
    parameters = list(converted.parameters())
    needed = [parameter.requires_grad for parameter in parameters]
    converted.requires_grad_(False)
    for layer in separable:
        layer.requires_grad_(True)
    try:
        return raw_outputs(converted, example, gradient=True)
    finally:
        for parameter, was_needed in zip(parameters, needed, strict=True):
            parameter.requires_grad_(was_needed)


def layers_without_effect(
    converted: nn.Module, plan: ConversionPlan, example: Any, outputs: Sequence[Tensor]
) -> list[str]:
    """Return the converted layers that can be zeroed without moving the outputs, given with their gradient."""
    names = [layer.name for layer in plan.converted if not layer.name.startswith(AFTER_BOXES)]
    weights = {name: list(converted.get_submodule(name).parameters()) for name in names}
    # A gradient shows all layers in one pass; what it misses is zeroed to make sure.
    score = torch.stack([(output * torch.randn_like(output)).sum() for output in outputs if output.requires_grad]).sum()
    flat = [weight for group in weights.values() for weight in group]
    gradients = torch.autograd.grad(score, flat, allow_unused=True) if score.requires_grad else [None] * len(flat)
    seen = {id(weight) for weight, grad in zip(flat, gradients, strict=True) if grad is not None and bool(grad.any())}
    suspects = [name for name, group in weights.items() if not any(id(weight) in seen for weight in group)]
    # Without gradients as well: with them a layer may compute another way, which differs by rounding.
    expected = raw_outputs(converted, example) if suspects else []
    return [name for name in suspects if not _zeroing_moves(converted, weights[name], example, expected)]


def _zeroing_moves(model: nn.Module, weights: Sequence[Tensor], example: Any, expected: Sequence[Tensor]) -> bool:
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.data.zero_()
    found = raw_outputs(model, example)
    for weight, values in zip(weights, before, strict=True):
        weight.data.copy_(values)
    return not all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def raw_outputs(model: nn.Module, example: Any, *, gradient: bool = False) -> list[Tensor]:
    """Return every floating-point tensor of a network's output; of a detection network those before the boxes."""
    if not is_detection(model):
        return _tensors(call(model, example) if gradient else run_example(model, example))
    with _outputs_of(_parts(model)) as outputs:
        if gradient:
            call(model, example)
        else:
            run_example(model, example)
    return outputs


def is_detection(model: nn.Module) -> bool:
    """Whether a network is one of torchvision's detection networks."""
    return type(model).__module__.startswith("torchvision.models.detection")


def copy_constants(source: nn.Module, target: nn.Module) -> None:
    """Copy the buffers that no state dict holds, which ``redraw`` has drawn for the source."""
    saved = source.state_dict().keys()
    for name, buffer in source.named_buffers():
        if name not in saved:
            # Set and not copied into: some networks build such buffers anew for each size of the input.
            parent, _, attribute = name.rpartition(".")
            setattr(target.get_submodule(parent), attribute, buffer.clone())


def _parts(model: nn.Module) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if name in BEFORE_BOXES]


@contextmanager
def _outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []
    handles = [module.register_forward_hook(lambda *hooked: outputs.extend(_tensors(hooked[2]))) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
