"""Phases of training in which a part of the network stays as it is.

A phase is a function of the step alone, and no optimizer group ever changes: a frozen parameter has no
gradient, which every optimizer passes over, with its weight decay and momentum.
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
    """A stretch of training.

    Attributes:
        end: The first step, counted from 0, that is no longer in it; None for the last phase.
        trained: Names of the parameters that train, aliases of shared ones included.
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
    """Resolve phases to steps and parameter names; the last one, in which everything trains, is added.

    Args:
        module: The network; what has no ``requires_grad`` trains in no phase.
        freeze: The phases in order of their end.
        steps_per_epoch: Optimizer steps in one epoch.
        head: Parameter names that the word ``head`` stands for.
        converted: Parameter names that the word ``converted`` stands for.

    Raises:
        RecipeError: A phase ends no later than the one before, or a pattern matches no parameter.
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
        phases += _thaw(module, trained, names, start, end) if phase.gradual else [Phase(end, trained)]
    return (*phases, Phase(None, frozenset(names)))


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """Return the phase that a step, counted from 0, belongs to."""
    return next(phase for phase in phases if phase.end is None or step < phase.end)


def enter_phase(module: nn.Module, phase: Phase) -> None:
    """Put the module into training mode with only the phase's parameters trained.

    Norms without a trained parameter of their own stay in evaluation mode, so that their running statistics
    do not move either; in the last phase every norm trains.
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
    """Say whether a module is a norm that updates statistics while it trains."""
    return getattr(module, "running_mean", None) is not None


def describe_phases(module: nn.Module, phases: Sequence[Phase]) -> list[str]:
    """Return a sentence for each phase: when it is, and how many parameters train."""
    sizes = {id(parameter): parameter.numel() for parameter in module.parameters()}
    sentences, start = [], 0
    for phase in phases:
        named = module.named_parameters(remove_duplicate=False)
        trained = {id(parameter) for name, parameter in named if name in phase.trained}
        until = "the end" if phase.end is None else f"step {phase.end}"
        share = f"{sum(sizes[key] for key in trained):,} of {sum(sizes.values()):,} parameters train"
        sentences.append(f"From step {start} until {until}, {share}.")
        start = phase.end or start
    return sentences


def _thaw(module: nn.Module, trained: frozenset[str], names: Collection[str], start: int, end: int) -> list[Phase]:
    """Divide a phase into equal parts, each with one more layer that trains: Howard & Ruder 2018 (ULMFiT, 3.3)."""
    numbers = number_layers(module)
    frozen = [name for name in names if name not in trained]
    # An alias of a shared parameter has no number of its own; it joins with the first layer.
    layers = sorted({numbers.get(name, 0) for name in frozen}, reverse=True)
    phases: list[Phase] = []
    for part, layer in enumerate([None, *layers]):
        joined = frozenset(name for name in frozen if layer is not None and numbers.get(name, 0) >= layer)
        stop = start + round((part + 1) * (end - start) / (len(layers) + 1))
        if stop > start and (not phases or stop > (phases[-1].end or 0)):
            phases.append(Phase(stop, trained | joined))
    return phases


def _steps(place: str, until: str, steps_per_epoch: int) -> int:
    match = _UNTIL.fullmatch(until)
    if match is None:
        raise RecipeError(f"{place}: expected such as '1ep' (epochs) or '200it' (steps), found {until!r}.")
    amount = float(match[1])
    return round(amount * steps_per_epoch) if match[2] == "ep" else round(amount)
