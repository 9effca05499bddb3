"""Checks of a run that need no conversion, which may take minutes, and so are made before it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from torch import nn

from dsft.assembly.held_out import ROLES, Training, count_seen, record_training
from dsft.choices import ModelSource, SplitName
from dsft.data import Splits
from dsft.errors import DataError, RecipeError
from dsft.progress import Report, Warn
from dsft.recipe import Recipe
from dsft.training import TrainingLoader, TrainingSetup, steps_per_epoch
from dsft.training.optim.freezing import plan_phases
from dsft.training.optim.optimizer import make_optimizer
from dsft.training.optim.parameter_patterns import match_parameters

_WILDCARD = re.compile(r"[*?\[]")


def require_weights(recipe: Recipe, *, may_have: bool) -> None:
    """Check that the recipe names weights where the command starts from some, and only there.

    Args:
        recipe: The recipe.
        may_have: The command starts from existing weights: ``dsft finetune``.

    Raises:
        RecipeError: There are weights where the command is to start from random ones, or the other way round.
    """
    model = recipe.model
    # A builder may return a network with weights of its own.
    if may_have and not model.has_weights and model.source is not ModelSource.PYTHON:
        raise RecipeError(
            "model: dsft finetune starts from weights, found none. Set model.pretrained=true or "
            "model.checkpoint=FILE, or use dsft train."
        )
    if not may_have and model.has_weights:
        raise RecipeError(
            "model: dsft train starts from random weights, found a source of weights (pretrained, checkpoint or "
            "source: dsft). Use dsft finetune."
        )
    if not may_have and recipe.distill is not None and recipe.distill.teacher == "original":
        raise RecipeError(
            "distill.teacher 'original': dsft train has no trained original to distill from. Give a model folder as "
            "distill.teacher, or leave the section out."
        )


def require_held_out(recipe: Recipe, splits: Splits, earlier: Sequence[Training], report: Report) -> None:
    """Check that the networks of a run were not trained on the images that measure it.

    Args:
        recipe: The recipe.
        splits: Its images.
        earlier: What the weights of the original and of the teacher were trained on.
        report: Receives a warning for a val split that is not held out, and for a test split that is not since images
            were added to the data or removed from it.

    Raises:
        DataError: Images of the test split, which is to be scored, trained or selected one of the networks, and its
            data has not changed since.
    """
    if all(record_training(recipe.data, splits) == training for training in earlier):
        return
    unchanged = [dataclasses.replace(training, run=None) for training in earlier]
    for name in dict.fromkeys([SplitName.VAL, *recipe.evaluate.splits]):
        split = splits.get(name)
        seen = {role: n for role, n in count_seen(split, earlier).items() if (name, role) != (SplitName.VAL,) * 2}
        for role, count in seen.items():
            message = (
                f"data: {count:,} of the {len(split):,} {split.input_kind.plural} of the {name} split {ROLES[role]} "
                "the network that this run starts from or distills from, so they are not held out. Use the same data, "
                "splits and data.seed as its run"
            )
            # Images that were added or removed move a few others between the splits, which need not stop the run.
            if name is SplitName.TEST and role in count_seen(split, unchanged):
                raise DataError(f"{message}, or leave test out of evaluate.splits.")
            report(Warn(f"{message}."))


def require_valid_patterns(setup: TrainingSetup, loader: TrainingLoader) -> None:
    """Check phases and parameter patterns as far as the network before its conversion allows.

    Args:
        setup: The training of the unconverted network.
        loader: The training split.

    Raises:
        RecipeError: A phase ends too early, the optimizer cannot be created, or a pattern matches no parameter,
            whatever is converted.
    """
    module, settings = setup.module, setup.settings
    everything = [dataclasses.replace(phase, train=("*",)) for phase in settings.freeze]
    steps = max(steps_per_epoch(loader, settings), 1)
    plan_phases(module, everything, steps_per_epoch=steps, head=setup.head, converted=setup.converted)
    make_optimizer(module, dataclasses.replace(settings.optimizer, lr_mult=()))
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    convolutions = [name for name, layer in module.named_modules(remove_duplicate=False) if _may_be_converted(layer)]
    for place, pattern in _patterns(setup):
        if pattern != "converted" and not _may_match_inside(pattern, convolutions):
            match_parameters(place, pattern, names, {"head": setup.head, "converted": ()})


def _patterns(setup: TrainingSetup) -> Iterable[tuple[str, str]]:
    """Yield every pattern with its key in the recipe."""
    for index, phase in enumerate(setup.settings.freeze):
        yield from ((f"freeze.{index}.train.{at}", pattern) for at, pattern in enumerate(phase.train))
    for pattern, _ in setup.settings.optimizer.lr_mult:
        yield f"optim.lr_mult.{pattern}", pattern


def _may_be_converted(layer: nn.Module) -> bool:
    return not any(True for _ in layer.children()) and any(weight.ndim > 2 for weight in layer.parameters())


def _may_match_inside(pattern: str, layers: Iterable[str]) -> bool:
    """Return whether a pattern can match a parameter of what one of these layers is converted to."""
    fixed = _WILDCARD.split(pattern, maxsplit=1)[0]
    return any(f"{name}.".startswith(fixed) or fixed.startswith(f"{name}.") for name in layers)
