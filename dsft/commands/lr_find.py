"""``dsft lr-find``: which learning rate a recipe can be trained with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsft.assembly import Verb, prepare_experiment
from dsft.errors import InputError, OutputError
from dsft.progress import Report, ignore
from dsft.recipe import Recipe
from dsft.report.rates import plot_rates
from dsft.training import RangeTest, run_range_test

_FEWEST_STEPS = 10


@dataclass(frozen=True)
class LrFindResult:
    """What the test saw, and the picture of it."""

    test: RangeTest
    picture: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self.test), "picture": str(self.picture)}


def run(
    recipe: Recipe, *, low: float, high: float, steps: int, out: Path, overwrite: bool, report: Report = ignore
) -> LrFindResult:
    """Train as a recipe says with a rising rate, and draw the loss; nothing but the picture is written.

    Args:
        recipe: What would be trained; converted first where it says so.
        low: Rate of the first step.
        high: Rate of the last step.
        steps: Most steps.
        out: The picture, a PNG file.
        overwrite: Replace an earlier picture.
        report: Receives the progress.

    Raises:
        InputError: The recipe, the data, the weights or the range are at fault.
        TrainingError: There is nothing to train on, or the device failed.
    """
    if not 0 < low < high or steps < _FEWEST_STEPS:
        raise InputError(
            f"--low and --high: a rising range above 0 and at least {_FEWEST_STEPS} steps are needed, found {low!r} to "
            f"{high!r} in {steps}."
        )
    if out.is_dir() or (out.exists() and not overwrite):
        raise OutputError(f"picture {str(out)!r}: is there already. Choose another --out, or add --overwrite.")
    experiment = prepare_experiment(recipe, _verb(recipe), report)
    loader = experiment.data.loaders.train
    test = run_range_test(experiment.training, loader, low=low, high=high, steps=steps, report=report)
    plot_rates(test, out)
    return LrFindResult(test, out)


def _verb(recipe: Recipe) -> Verb:
    """Return the command that the recipe is for: it trains from random weights, or from ones that exist."""
    return Verb.FINETUNE if recipe.model.has_weights else Verb.TRAIN
