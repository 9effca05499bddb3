"""Looking at a network at work: what its convolutions see, and how much the loss depends on what they put out."""

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
from dsft.conversion.reconstruction.calibration_data import look
from dsft.errors import ConversionError
from dsft.losses import sampled_cross_entropy
from dsft.measure.example import ExampleInput, batch_size_of, call, evaluation_mode
from dsft.number_format import plural
from dsft.progress import Report, Warn, ignore, report_task
from dsft.separable.im2col import make_taps

SampledLoss = Callable[[Tensor, torch.Generator], Tensor]
"""From logits to the loss against labels drawn from them, see :mod:`dsft.losses.sampled`."""

IMAGES = 256
"""Images that are looked at, at most: the moments are small and a few hundred images know them well."""

POSITIONS = 2048
"""Positions of a layer's input that are looked at in each batch."""

LATENESS = 1.0
"""How much more an error counts in the last layer than in the first, as the logarithm of the ratio."""


def measure_weightings(
    model: nn.Module,
    sites: Sequence[Site],
    batches: Sequence[ExampleInput],
    seed: int = 0,
    report: Report = ignore,
    sampled_loss: SampledLoss = sampled_cross_entropy,
) -> dict[str, Weighting]:
    """Measure what a change of each convolution's kernel costs the network.

    The loss is that of labels drawn from the network's own answers, where these are one row of class scores for
    each image, and the squared distance from the outputs otherwise: no labels are needed (Martens 2014, "New
    insights and perspectives on the natural gradient method", §5 and §9).

    Args:
        model: The dense network; it is left as it was.
        sites: The convolutions.
        batches: Inputs as the network takes them.
        seed: Seed of the labels.
        report: Receives the progress over the batches.
        sampled_loss: The loss where the answers are one row of class scores for each image.

    Returns:
        The weightings by name, in the order in which the convolutions run; those that do not run come last.

    Raises:
        ConversionError: The network cannot take a batch, or its answers are not finite.
    """
    moments = {site.module: _Moments(site) for site in sites}
    running: dict[Any, None] = {}
    done, is_differentiable = 0, True
    generator = torch.Generator().manual_seed(seed)
    used = _first_images(batches)
    summary = f"collected statistics on {plural(sum(map(batch_size_of, used)), 'image')}"
    with report_task(report, "collecting statistics", len(used), "batches", summary) as advance, evaluation_mode(model):
        for number, batch in enumerate(used):
            done += batch_size_of(batch)
            with _Taken(moments) as taken:
                outputs = _answers(model, batch, number)
                if is_differentiable:
                    is_differentiable = _backpropagate(outputs, taken, generator, sampled_loss)
            running.update(dict.fromkeys(sums.module for sums, _ in taken.outputs))
            advance(number + 1)
    if not is_differentiable:
        report(Warn("the network gives no gradient, so layers are weighed by the size of their outputs alone."))
    names = {site.module: site.name for site in sites}
    return {
        names[module]: moments[module].weighting(done, has_gradient=is_differentiable)
        for module in dict.fromkeys([*running, *moments])
    }


def favour_late(weightings: Mapping[str, Weighting]) -> dict[str, Weighting]:
    """Let an error cost the more the later its layer runs.

    In a refit the layers after an early one make up for a part of its error, and there are none after the last. On the
    CIFAR ResNet-32 of the benchmark, one draw, the divergence from the dense network on two sets of 2,000 images that
    nothing was fitted to fell by this from 0.286 and 0.311 to 0.282 and 0.287 at 0.3 of the MACs, and from 0.076 and
    0.078 to 0.068 and 0.068 at 0.5.

    Args:
        weightings: By name, in the order in which the layers run.
    """
    return {
        name: replace(weighting, outputs=weighting.outputs * math.exp(LATENESS * place / len(weightings)))
        for place, (name, weighting) in enumerate(weightings.items())
    }


class _Moments:
    """The sums of one convolution."""

    def __init__(self, site: Site) -> None:
        module = self.module = site.module
        self.kernel, self.groups = site.dense_kernel.detach().cpu().double(), module.groups
        self.taps_layer = make_taps(module, separable_class_of(module).dense_class, module.in_channels)
        positions, width = self.kernel[0, 0].numel(), module.in_channels // module.groups
        self.taps = torch.zeros(module.in_channels, positions, positions, dtype=torch.float64)
        self.channels = torch.zeros(module.groups, width, width, dtype=torch.float64)
        self.outputs = torch.zeros(module.groups, *(module.out_channels // module.groups,) * 2, dtype=torch.float64)
        self.samples = 0

    def add_input(self, images: Tensor) -> None:
        """Add what the kernel's positions see in a batch."""
        rows = look(self.taps_layer, images, POSITIONS, self.samples)
        seen = rows.reshape(len(rows), self.module.in_channels, -1)
        centred = seen - seen.mean(0)
        self.taps += torch.einsum("ncp,ncq->cpq", centred, centred).cpu().double()
        middle = centred[:, :, seen.shape[2] // 2].reshape(len(rows), self.groups, -1)
        self.channels += torch.einsum("ngc,ngd->gcd", middle, middle).cpu().double()
        self.samples += len(rows)

    def add_gradient(self, gradient: Tensor) -> None:
        """Add the gradient at the outputs of a batch."""
        dimensions = len(self.module.kernel_size)
        rows = gradient.movedim(-1 - dimensions, -1).reshape(-1, self.groups, self.outputs.shape[1]).float()
        self.outputs += torch.einsum("ngi,ngj->gij", rows, rows).cpu().double()

    def weighting(self, images: int, *, has_gradient: bool) -> Weighting:
        """Return the means: of the inputs over positions, of the gradients over images."""
        taps, channels = self.taps / max(self.samples, 1), self.channels / max(self.samples, 1)
        is_known = has_gradient and bool(self.outputs.any())
        return Weighting(taps, channels, self.outputs / images if is_known else self._alike(taps))

    def _alike(self, taps: Tensor) -> Tensor:
        """Return the moment of outputs that all count alike, with which the whole kernel has an energy of 1."""
        slices = self.kernel.flatten(2).reshape(self.groups, -1, *self.kernel.flatten(2).shape[1:])
        grouped = taps.reshape(*self.channels.shape[:2], *taps.shape[1:])
        energy = float(torch.einsum("gmcp,gcpq,gmcq->", slices, grouped, slices))
        return torch.eye(self.outputs.shape[1], dtype=torch.float64).expand_as(self.outputs) / (energy or 1.0)


class _Taken:
    """Hooks on the convolutions of one pass: their inputs are added up, their outputs kept for the gradient."""

    def __init__(self, moments: dict[Any, _Moments]) -> None:
        self.moments = moments
        self.outputs: list[tuple[_Moments, Tensor]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Taken:
        for module, sums in self.moments.items():
            self._handles.append(module.register_forward_hook(self._hook(sums), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, sums: _Moments) -> Callable[..., Tensor]:
        def take(_: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any], output: Tensor) -> Tensor:
            sums.add_input((inputs[0] if inputs else given["input"]).detach())
            kept = output if output.requires_grad else output.detach().requires_grad_()
            self.outputs.append((sums, kept))
            # A copy goes on, since the gradient is that at what the layer puts out, before anything overwrites it.
            return kept.clone()

        return take


def _answers(model: nn.Module, batch: ExampleInput, number: int) -> list[Tensor]:
    try:
        with torch.enable_grad():
            output = call(model, batch)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConversionError(
            f"calibration: the network cannot take batch {number}, a {type(batch).__name__} ({reason}). Give inputs as "
            "the network takes them, preprocessed and without labels, such as [images for images, _ in loader]."
        ) from error
    answers = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not all(bool(answer.isfinite().all()) for answer in answers):
        raise ConversionError(
            f"calibration: the network answers batch {number} with NaN or infinite values, so nothing can be fitted to "
            "them. Check its weights and the preprocessing."
        )
    return answers


def _backpropagate(
    answers: Sequence[Tensor], taken: _Taken, generator: torch.Generator, sampled_loss: SampledLoss
) -> bool:
    """Add up the gradients at the outputs that were taken; False where there are none."""
    answers = [answer for answer in answers if answer.requires_grad]
    if not answers:
        return False
    try:
        with torch.enable_grad():
            score = torch.stack([_score(answer, generator, sampled_loss).double() for answer in answers]).sum()
            gradients = torch.autograd.grad(score, [output for _, output in taken.outputs], allow_unused=True)
    except RuntimeError:
        # A network that overwrites what its gradient needs can be run, and not be trained.
        return False
    for (sums, _), gradient in zip(taken.outputs, gradients, strict=True):
        if gradient is not None:
            sums.add_gradient(gradient)
    return True


def _score(answer: Tensor, generator: torch.Generator, sampled_loss: SampledLoss) -> Tensor:
    if answer.dim() == 2 and answer.shape[1] > 1:
        return sampled_loss(answer, generator)
    noise = torch.randn(answer.shape, generator=generator).to(answer)
    return (answer * noise).sum()


def _first_images(batches: Sequence[ExampleInput]) -> list[ExampleInput]:
    used: list[ExampleInput] = []
    images = 0
    for batch in batches:
        if images >= IMAGES:
            break
        used.append(batch)
        images += batch_size_of(batch)
    return used
