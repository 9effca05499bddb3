"""Recovery: gradient steps that bring a converted network closer to the original, without labels."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsft.conversion.reconstruction.augmentation import RandomBatches
from dsft.conversion.reconstruction.block_outputs import (
    block_names,
    output_distance,
    recorded_outputs,
    relative_distance,
)
from dsft.measure.example import ExampleInput, batch_size_of, call, evaluation_mode, run_example
from dsft.number_format import plural
from dsft.progress import Advance, Note, Report, Warn, ignore, report_task

STEPS = 600
"""Largest number of steps where none is given. On a ResNet-32 1,500 brought no more than 600."""

BATCH_SIZE = 32
WARMUP = 50
CLIP = 5.0

GENTLE, STRONG = (0.01, 5e-5), (0.1, 3e-4)
"""Distance of the blocks' outputs before the first step, and the learning rate for it. In between, the logarithm of the
rate is linear in that of the distance. On a ResNet-32 at 0.5 of its MACs the larger rate brought nothing, and at 0.3
the larger one more than the smaller one."""

JUDGED = 100
"""Steps between two comparisons on the inputs that are set aside."""

LEAST_IMAGES = 16
"""With fewer inputs nothing is trained."""

SET_ASIDE = 64
"""Inputs that decide which state is kept."""

VARIED = 3
"""Shifted, mirrored and mixed copies of them that decide as well. A network is surer of images that trained it, and 64
of them tell little: on a ResNet-32 at 0.3 of its MACs the divergence of their classes rose from 0.086 to 0.099 in 400
steps, in which that on 2,000 test images fell from 0.196 to 0.163. The squared distance of the outputs fell on both."""

PROBED = 5
"""Steps that are timed where the time is limited."""


@dataclass(frozen=True)
class Recovery:
    """What a recovery did.

    Attributes:
        steps: The steps that were taken.
        before: Distance of the outputs from those of the original on the inputs set aside, before the first step; see
            :func:`~dsft.conversion.reconstruction.block_outputs.output_distance`.
        after: The same of the state that was kept.
    """

    steps: int
    before: float
    after: float


def recover_network(
    original: nn.Module,
    converted: nn.Module,
    layers: Sequence[str],
    batches: Sequence[ExampleInput],
    held_out: Sequence[ExampleInput],
    *,
    steps: int | None = None,
    seconds: float = math.inf,
    seed: int = 0,
    report: Report = ignore,
) -> Recovery | None:
    """Train the converted layers, biases and norms to reproduce the outputs of the original's blocks, in place.

    The loss is the mean over blocks of the squared distance relative to the variance of the original's output, on
    shifted, mirrored and mixed inputs; norms keep their statistics. The best state on the inputs set aside is kept:
    the state before the first step where no later one is better.

    Args:
        original: The dense network.
        converted: The converted copy.
        layers: Names of its converted layers.
        batches: Inputs to train on.
        held_out: Inputs that decide which state is kept; they must not be among ``batches``.
        steps: Number of steps; None for at most ``STEPS``, and no more than fit into ``seconds``.
        seconds: Largest time, where ``steps`` is None.
        seed: Seed of the inputs' order and variation.
        report: Receives the progress.

    Returns:
        What was done; None where nothing was, which is reported: there were too few inputs, nothing can be trained, or
        the network is not differentiable.
    """
    images = sum(map(batch_size_of, batches)) + sum(map(batch_size_of, held_out))
    if images < LEAST_IMAGES or not held_out or not batches:
        least = f"at least {LEAST_IMAGES} inputs in several batches"
        report(Warn(f"no recovery: it needs {least}, found {plural(images, 'input')}."))
        return None
    parameters = _trainable(converted, layers)
    if not parameters:
        report(Warn("no recovery: all converted layers are frozen."))
        return None
    session = _Session(original, converted, block_names(layers), parameters, RandomBatches(batches, seed), held_out)
    try:
        with evaluation_mode(original), evaluation_mode(converted):
            return session.run(steps, seconds, report)
    except RuntimeError as error:
        session.restore()
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        report(Warn(f"the network cannot be trained ({reason}), so it stays as it was fitted layer by layer."))
        return None


def _trainable(converted: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Return the parameters of converted layers, and all biases and those of norms, that require a gradient."""
    layers = {converted.get_submodule(name) for name in names}
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    vectors = [parameter for parameter in converted.parameters() if parameter.dim() <= 1 or id(parameter) in inside]
    return [parameter for parameter in vectors if parameter.requires_grad and parameter.is_floating_point()]


class _Session:
    """One recovery: the two networks, what is trained, and the best state so far."""

    def __init__(
        self,
        original: nn.Module,
        converted: nn.Module,
        names: Sequence[str],
        parameters: Sequence[nn.Parameter],
        inputs: RandomBatches,
        held_out: Sequence[ExampleInput],
    ) -> None:
        self._original, self._converted, self._names = original, converted, names
        self._parameters, self._inputs, self._held_out = parameters, inputs, judged_batches(held_out)
        self._expected = [run_example(original, batch) for batch in self._held_out]
        self._count = BATCH_SIZE
        self._best = self._copy()

    def run(self, steps: int | None, seconds: float, report: Report) -> Recovery:
        """Take the steps and keep the best state."""
        before = best = self._judge()
        rate = _learning_rate(self._backward())
        optimizer = torch.optim.Adam(self._parameters, lr=rate)
        total = STEPS if steps is None else steps
        if steps is None and seconds < math.inf:
            total = min(total, self._affordable(seconds))
        taken = 0
        with report_task(report, "recovering accuracy", total, "steps", "") as advance:
            for taken in range(1, total + 1):
                optimizer.param_groups[0]["lr"] = rate * _schedule(taken, total)
                if not self._step(optimizer):
                    report(Note(f"step {taken} gave values that are not finite: back to the best state before it."))
                    break
                if taken % JUDGED == 0 or taken == total:
                    best = self._keep_better(best, advance, taken)
        self.restore()
        report(Note(_describe(taken, before, best)))
        return Recovery(taken, before, best)

    def restore(self) -> None:
        """Put the best state back."""
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self._best, strict=True):
                parameter.copy_(value)
                parameter.grad = None

    def _affordable(self, seconds: float) -> int:
        """Return how many steps fit into a time."""
        started = time.perf_counter()
        for _ in range(PROBED):
            self._backward()
        return int(seconds * PROBED / (time.perf_counter() - started))

    def _keep_better(self, best: float, advance: Advance, taken: int) -> float:
        found = self._judge()
        advance(taken, {"error": found})
        if found < best:
            self._best = self._copy()
            return found
        return best

    def _step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take one step; False where the loss or a gradient is not finite."""
        loss = self._backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, CLIP)
        if not (math.isfinite(loss) and bool(norm.isfinite())):
            return False
        optimizer.step()
        return True

    def _backward(self) -> float:
        """Return the loss on a new batch and set its gradients; with half as many inputs if memory runs out."""
        while True:
            try:
                loss = self._compare(self._inputs.draw(self._count))
                # Not backward(), which would leave gradients in what is not trained.
                gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            except torch.OutOfMemoryError:
                if self._count == 1:
                    raise
                self._count //= 2
            else:
                for parameter, gradient in zip(self._parameters, gradients, strict=True):
                    parameter.grad = gradient
                return float(loss.detach())

    def _compare(self, batch: ExampleInput) -> Tensor:
        """Return the mean distance of the blocks' outputs."""
        names = [*self._names, ""] if "" not in self._names else self._names
        with torch.no_grad(), recorded_outputs(self._original, names) as expected:
            call(self._original, batch)
        with torch.enable_grad(), recorded_outputs(self._converted, names) as found:
            call(self._converted, batch)
        pairs = [(found[name], expected[name]) for name in names if name in found and name in expected]
        distances = [relative_distance(one, other) for one, other in pairs if one.shape == other.shape]
        if not distances:
            raise RuntimeError("none of its outputs is a tensor of the size of the original's")
        return torch.stack(distances).mean()

    def _judge(self) -> float:
        pairs = zip(self._held_out, self._expected, strict=True)
        distances = [
            output_distance(run_example(self._converted, batch), expected) * batch_size_of(batch)
            for batch, expected in pairs
        ]
        mean = sum(distances) / sum(map(batch_size_of, self._held_out))
        return mean if math.isfinite(mean) else math.inf

    def _copy(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]


def _learning_rate(distance: float) -> float:
    (near, low), (far, high) = GENTLE, STRONG
    if not distance > 0:
        return low
    share = min(max(math.log(distance / near) / math.log(far / near), 0.0), 1.0)
    return low * math.pow(high / low, share)


def _schedule(step: int, total: int) -> float:
    """Return the share of the learning rate at a step: linear warm-up, then a cosine to 0."""
    warmup = min(WARMUP, total // 2)
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup + 1)))


def _describe(steps: int, before: float, after: float) -> str:
    if after < before:
        return f"recovery in {steps} steps: error of the outputs on inputs set aside {before:.4f} -> {after:.4f}."
    return f"recovery in {steps} steps brought nothing on inputs set aside ({before:.4f}): the weights are unchanged."


def judged_batches(held_out: Sequence[ExampleInput]) -> list[ExampleInput]:
    """Return the inputs that decide which state is kept, and varied copies of them."""
    copies = RandomBatches(held_out, seed=0)
    count = VARIED if copies.varies else 0
    return [*held_out, *(copies.draw(batch_size_of(batch)) for _ in range(count) for batch in held_out)]


def set_aside(batches: Sequence[ExampleInput]) -> tuple[list[ExampleInput], list[ExampleInput]]:
    """Split inputs into those that a network is fitted to, and those that judge its recovery.

    The last batches are set aside: as many as hold ``SET_ASIDE`` inputs, or an eighth of all where that is less.
    Nothing is with a single batch.
    """
    total, kept, held = sum(map(batch_size_of, batches)), list(batches), list[ExampleInput]()
    wanted = min(SET_ASIDE, total / 8)
    while len(kept) > 1 and sum(map(batch_size_of, held)) < wanted:
        held.insert(0, kept.pop())
    return kept, held
