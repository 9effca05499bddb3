"""``dsft lr-find``: the learning rate range test (Smith 2017) for a recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsft.assembly import Verb, prepare_experiment
from dsft.errors import InputError
from dsft.progress import Report, ignore
from dsft.recipe import Recipe
from dsft.report.rates import plot_rates
from dsft.storage import require_free_file
from dsft.training import RangeTest, run_range_test

_MIN_STEPS = 10


@dataclass(frozen=True)
class LrFindResult:
    """The result of the range test, and the file of its plot."""

    test: RangeTest
    picture: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self.test), "picture": str(self.picture)}


def run(
    recipe: Recipe, *, low: float, high: float, steps: int, out: Path, overwrite: bool, report: Report = ignore
) -> LrFindResult:
    """Train with an increasing learning rate and plot the loss; only the plot is written.

    Args:
        recipe: The recipe; if it has a section ``convert``, the network is converted first.
        low: Learning rate of the first step.
        high: Learning rate of the last step.
        steps: Maximum number of steps.
        out: The plot, a PNG file.
        overwrite: Replace an existing plot.
        report: Receives the progress.

    Raises:
        InputError: The recipe, the data, the weights or the range are invalid, or the plot exists.
        TrainingError: There are no images to train on, or the device failed.
    """
    if not 0 < low < high or steps < _MIN_STEPS:
        raise InputError(
            f"--low, --high and --steps: must be an increasing range above 0 and at least {_MIN_STEPS} steps, found "
            f"{low!r} to {high!r} in {steps} steps."
        )
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {str(out)!r}: the plot is a PNG file, so the name must end in .png.")
    require_free_file(out, overwrite=overwrite)
    experiment = prepare_experiment(recipe, _verb(recipe), report)
    loader = experiment.data.loaders.train
    test = run_range_test(experiment.training, loader, low=low, high=high, steps=steps, report=report)
    plot_rates(test, out)
    return LrFindResult(test, out)


def _verb(recipe: Recipe) -> Verb:
    """Return the command that the recipe is for: ``finetune`` if it names weights, else ``train``."""
    return Verb.FINETUNE if recipe.model.has_weights else Verb.TRAIN
