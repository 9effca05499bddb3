"""Collect the Kronecker factors of the Fisher information: second moments of each convolution's input and gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves
from dsft.conversion.discovery.dense_kernel import separable_class_of
from dsft.conversion.discovery.sites import Site
from dsft.conversion.factorization import Weighting
from dsft.conversion.reconstruction.calibration_data import sample_maps
from dsft.errors import ConversionError
from dsft.losses import is_row_of_scores, sampled_cross_entropy
from dsft.measure.example import ExampleInput, batch_size_of, call, evaluation_mode
from dsft.number_format import plural
from dsft.progress import Report, Warn, ignore, report_task
from dsft.separable.im2col import patch_layer

SampledLoss = Callable[[Tensor, torch.Generator], Tensor]
"""From logits to the loss against labels sampled from them, see :mod:`dsft.losses.sampled`."""

MAX_IMAGES = 256
"""Maximum number of images; a few hundred are enough for moments of this size."""

POSITIONS = 2048
"""Sampled positions of a layer's input in each batch."""

LARGEST_RISE = 0.1
"""Rise of the cross entropy in nats up to which the quadratic model holds. Of single layers of SqueezeNet, changes that
should raise it by 0.01 to 0.1 caused a divergence of 0.1 to 1 times that, and changes of 0.6 to 1.1 of 2 to 7 times."""

DEPTH_BIAS = 1.0
"""Logarithm of how much more an error counts in the last layer than in the first."""


def collect_fisher(
    model: nn.Module,
    sites: Sequence[Site],
    batches: Sequence[ExampleInput],
    seed: int = 0,
    report: Report = ignore,
    sampled_loss: SampledLoss = sampled_cross_entropy,
) -> dict[str, Weighting]:
    """Collect the Kronecker factors of the Fisher information of each convolution.

    If the output is one row of class scores per image, the loss is against labels sampled from it; otherwise it is
    the squared error of the output, whose Fisher information a random projection of the output estimates. No labels
    are needed (Martens 2014, "New insights and perspectives on the natural gradient method", §5 and §9).

    Args:
        model: The dense network; it is left unchanged.
        sites: The convolutions.
        batches: Inputs as the network takes them.
        seed: Seed of the labels.
        report: Receives the progress over the batches.
        sampled_loss: The loss for rows of class scores.

    Returns:
        The factors by name, in the order in which the convolutions run; those that do not run come last.

    Raises:
        ConversionError: The network cannot take a batch, or its output is not finite.
    """
    moments = {site.module: _Moments(site) for site in sites}
    running: dict[Any, None] = {}
    done, is_differentiable, has_scores = 0, True, True
    generator = torch.Generator().manual_seed(seed)
    used = _first_images(batches)
    summary = f"collected statistics on {plural(sum(map(batch_size_of, used)), 'input')}"
    with report_task(report, "collecting statistics", len(used), "batches", summary) as advance, evaluation_mode(model):
        for number, batch in enumerate(used):
            done += batch_size_of(batch)
            with _Hooks(moments) as hooks:
                outputs = _outputs(model, batch, number)
                has_scores &= all(map(is_row_of_scores, outputs))
                if is_differentiable:
                    is_differentiable = _backpropagate(outputs, hooks, generator, sampled_loss)
            running.update(dict.fromkeys(sums.module for sums, _ in hooks.outputs))
            advance(number + 1)
    if not is_differentiable:
        report(Warn("the network is not differentiable, so layers are weighted by the variance of their output alone."))
    names = {site.module: site.name for site in sites}
    holds_to = LARGEST_RISE if has_scores and is_differentiable else math.inf
    return {
        names[module]: replace(moments[module].weighting(done, has_gradient=is_differentiable), largest_rise=holds_to)
        for module in dict.fromkeys([*running, *moments])
    }


def emphasize_late_layers(weightings: Mapping[str, Weighting]) -> dict[str, Weighting]:
    """Increase the cost of errors with the depth of the layer, exponentially.

    In a sequential reconstruction, later layers compensate for part of the error of an earlier one, and nothing
    compensates for that of the last. On the CIFAR ResNet-32 of the benchmark, one draw, the KL divergence from the
    dense network on two sets of 2,000 held-out images fell by this from 0.286 and 0.311 to 0.282 and 0.287 at 0.3 of
    the MACs, and from 0.076 and 0.078 to 0.068 and 0.068 at 0.5.

    Args:
        weightings: By name, in the order in which the layers run.
    """
    return {
        name: replace(weighting, gradients=weighting.gradients * math.exp(DEPTH_BIAS * place / len(weightings)))
        for place, (name, weighting) in enumerate(weightings.items())
    }


class _Moments:
    """Running sums of the moments of one convolution."""

    def __init__(self, site: Site) -> None:
        module = self.module = site.module
        self.kernel, self.groups = site.dense_kernel.detach().cpu().double(), module.groups
        self.patch_layer = patch_layer(module, separable_class_of(module).dense_class, module.in_channels)
        positions, width = self.kernel[0, 0].numel(), module.in_channels // module.groups
        self.patches = torch.zeros(module.in_channels, positions, positions, dtype=torch.float64)
        self.channels = torch.zeros(module.groups, width, width, dtype=torch.float64)
        self.gradients = torch.zeros(module.groups, *(module.out_channels // module.groups,) * 2, dtype=torch.float64)
        self.samples = 0

    def add_input(self, images: Tensor) -> None:
        """Add the input of a batch."""
        rows = sample_maps(self.patch_layer, images, POSITIONS, self.samples)
        patches = rows.reshape(len(rows), self.module.in_channels, -1)
        centred = patches - patches.mean(0)
        self.patches += torch.einsum("ncp,ncq->cpq", centred, centred).cpu().double()
        middle = centred[:, :, patches.shape[2] // 2].reshape(len(rows), self.groups, -1)
        self.channels += torch.einsum("ngc,ngd->gcd", middle, middle).cpu().double()
        self.samples += len(rows)

    def add_gradient(self, gradient: Tensor) -> None:
        """Add the gradient at the output of a batch."""
        dimensions = len(self.module.kernel_size)
        rows = gradient.movedim(-1 - dimensions, -1).reshape(-1, self.groups, self.gradients.shape[1]).float()
        self.gradients += torch.einsum("ngi,ngj->gij", rows, rows).cpu().double()

    def weighting(self, images: int, *, has_gradient: bool) -> Weighting:
        """Return the means: of the inputs over positions, of the gradients over images."""
        patches, channels = self.patches / max(self.samples, 1), self.channels / max(self.samples, 1)
        is_known = has_gradient and bool(self.gradients.any())
        return Weighting(patches, channels, self.gradients / images if is_known else self._isotropic(patches))

    def _isotropic(self, patches: Tensor) -> Tensor:
        """Return a multiple of the identity with which the energy of the whole kernel is 1."""
        slices = self.kernel.flatten(2).reshape(self.groups, -1, *self.kernel.flatten(2).shape[1:])
        grouped = patches.reshape(*self.channels.shape[:2], *patches.shape[1:])
        energy = float(torch.einsum("gmcp,gcpq,gmcq->", slices, grouped, slices))
        return torch.eye(self.gradients.shape[1], dtype=torch.float64).expand_as(self.gradients) / (energy or 1.0)


class _Hooks:
    """Forward hooks for one pass that add up the inputs of convolutions, and keep their outputs for the gradient."""

    def __init__(self, moments: dict[Any, _Moments]) -> None:
        self.moments = moments
        self.outputs: list[tuple[_Moments, Tensor]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Hooks:
        for module, sums in self.moments.items():
            self._handles.append(module.register_forward_hook(self._hook(sums), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, sums: _Moments) -> Callable[..., Tensor]:
        def record(_: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any], output: Tensor) -> Tensor:
            sums.add_input((inputs[0] if inputs else given["input"]).detach())
            kept = output if output.requires_grad else output.detach().requires_grad_()
            self.outputs.append((sums, kept))
            # The network continues with a copy: the gradient is that at the output of the layer, before an in-place
            # operation overwrites it. All readers of the output get the same copy, so that it affects all of them.
            return kept.clone()

        return record


def _outputs(model: nn.Module, batch: ExampleInput, number: int) -> list[Tensor]:
    try:
        with torch.enable_grad():
            output = call(model, batch)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConversionError(
            f"calibration: the network fails on batch {number}, a {type(batch).__name__} ({reason}). Give inputs as "
            "the network takes them, preprocessed and without labels, such as [images for images, _ in loader]."
        ) from error
    outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not all(bool(each.isfinite().all()) for each in outputs):
        raise ConversionError(
            f"calibration: the output of the network on batch {number} holds NaN or infinite values. Check its weights "
            "and the preprocessing."
        )
    return outputs


def _backpropagate(
    outputs: Sequence[Tensor], hooks: _Hooks, generator: torch.Generator, sampled_loss: SampledLoss
) -> bool:
    """Add the gradients at the outputs of the convolutions; False if there are none."""
    outputs = [each for each in outputs if each.requires_grad]
    if not outputs:
        return False
    try:
        with torch.enable_grad():
            # On the CPU, since not every device has float64.
            loss = torch.stack([sampled_loss(each, generator).cpu().double() for each in outputs]).sum()
            gradients = torch.autograd.grad(loss, [output for _, output in hooks.outputs], allow_unused=True)
    except RuntimeError:
        # In-place operations may overwrite what the backward pass needs; such a network can only be run.
        return False
    for (sums, _), gradient in zip(hooks.outputs, gradients, strict=True):
        if gradient is not None:
            sums.add_gradient(gradient)
    return True


def _first_images(batches: Sequence[ExampleInput]) -> list[ExampleInput]:
    used: list[ExampleInput] = []
    images = 0
    for batch in batches:
        if images >= MAX_IMAGES:
            break
        used.append(batch)
        images += batch_size_of(batch)
    return used
