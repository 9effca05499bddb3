"""Phases of training in which a part of the network is frozen.

The phase depends on the step alone, and optimizer groups never change: a frozen parameter has no gradient, so every
optimizer skips it, including its weight decay and momentum.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from dsft.errors import RecipeError
from dsft.training.optim.layer_depth import number_layers
from dsft.training.optim.parameter_patterns import match_parameters
from dsft.training.settings import FreezePhase

_UNTIL = re.compile(r"(\d+(?:\.\d+)?)(ep|it)")


@dataclass(frozen=True)
class Phase:
    """A range of training steps.

    Attributes:
        end: The first step, counted from 0, after the phase; None for the last one.
        trained: Names of the parameters that are trained, including all names of shared ones.
    """

    end: int | None
    trained: frozenset[str]


def plan_phases(
    module: nn.Module,
    freeze: Sequence[FreezePhase],
    *,
    steps_per_epoch: int,
    head: Collection[str],
    converted: Collection[str],
) -> tuple[Phase, ...]:
    """Resolve phases to steps and parameter names, and append the last one, in which everything is trained.

    Args:
        module: The network; a parameter without ``requires_grad`` is trained in no phase.
        freeze: The phases in order of their end.
        steps_per_epoch: Optimizer steps in an epoch.
        head: Names of the parameters that the word ``head`` stands for.
        converted: Names of the parameters that the word ``converted`` stands for.

    Raises:
        RecipeError: A phase does not end after the one before it, or a pattern matches no parameter.
    """
    parameters = module.named_parameters(remove_duplicate=False)
    names = [name for name, parameter in parameters if parameter.requires_grad]
    groups = {"head": head, "converted": converted}
    phases: list[Phase] = []
    for index, phase in enumerate(freeze):
        start = phases[-1].end or 0 if phases else 0
        end = _steps(f"freeze.{index}.until", phase.until, steps_per_epoch)
        if end <= start:
            raise RecipeError(
                f"freeze.{index}.until: a phase must end after the one before it and last at least one step, "
                f"found {phase.until!r} (step {end}). Order the phases by their end."
            )
        matches = [
            match_parameters(f"freeze.{index}.train.{at}", pattern, names, groups)
            for at, pattern in enumerate(phase.train)
        ]
        trained = frozenset().union(*matches)
        phases += _unfreeze_gradually(module, trained, names, start, end) if phase.gradual else [Phase(end, trained)]
    return (*phases, Phase(None, frozenset(names)))


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """Return the phase of a step, which is counted from 0."""
    return next(phase for phase in phases if phase.end is None or step < phase.end)


def enter_phase(module: nn.Module, phase: Phase) -> None:
    """Set the module to training mode, and ``requires_grad`` of the parameters that the phase trains.

    Norms without a trained parameter of their own are set to evaluation mode, so that their running statistics are
    frozen too; in the last phase every norm is in training mode.
    """
    named = list(module.named_parameters(remove_duplicate=False))
    trained = {id(parameter) for name, parameter in named if name in phase.trained}
    for _, parameter in named:
        parameter.requires_grad_(id(parameter) in trained)
        if not parameter.requires_grad:
            parameter.grad = None
    module.train()
    if phase.end is None:
        return
    for norm in module.modules():
        own = norm.parameters(recurse=False)
        if has_running_statistics(norm) and not any(parameter.requires_grad for parameter in own):
            norm.eval()


def has_running_statistics(module: nn.Module) -> bool:
    """Whether a module is a norm that updates running statistics in training mode."""
    # The frozen norms of timm and torchvision have statistics that are never updated, and count no batches.
    return all(getattr(module, name, None) is not None for name in ("running_mean", "num_batches_tracked"))


def describe_phases(module: nn.Module, phases: Sequence[Phase]) -> list[str]:
    """Return a sentence for each phase: its steps, and how many parameters it trains."""
    sizes = {id(parameter): parameter.numel() for parameter in module.parameters()}
    sentences, start = [], 0
    for phase in phases:
        named = module.named_parameters(remove_duplicate=False)
        trained = {id(parameter) for name, parameter in named if name in phase.trained}
        until = "the end" if phase.end is None else f"step {phase.end}"
        share = f"{sum(sizes[key] for key in trained):,} of {sum(sizes.values()):,} parameters are trained"
        sentences.append(f"From step {start} until {until}, {share}.")
        start = phase.end or start
    return sentences


def _unfreeze_gradually(
    module: nn.Module, trained: frozenset[str], names: Collection[str], start: int, end: int
) -> list[Phase]:
    """Divide a phase into equal parts, each of which trains one more layer: Howard & Ruder 2018 (ULMFiT, 3.3)."""
    numbers = number_layers(module)
    frozen = [name for name in names if name not in trained]
    # The second name of a shared parameter has no number; it is unfrozen with the first layer.
    layers = sorted({numbers.get(name, 0) for name in frozen}, reverse=True)
    phases: list[Phase] = []
    for part, layer in enumerate([None, *layers]):
        unfrozen = frozenset(name for name in frozen if layer is not None and numbers.get(name, 0) >= layer)
        stop = start + round((part + 1) * (end - start) / (len(layers) + 1))
        if stop > start and (not phases or stop > (phases[-1].end or 0)):
            phases.append(Phase(stop, trained | unfrozen))
    return phases


def _steps(place: str, until: str, steps_per_epoch: int) -> int:
    match = _UNTIL.fullmatch(until)
    if match is None:
        raise RecipeError(f"{place}: expected such as '1ep' (epochs) or '200it' (steps), found {until!r}.")
    amount = float(match[1])
    return round(amount * steps_per_epoch) if match[2] == "ep" else round(amount)
