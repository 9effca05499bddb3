"""The folder of a run: which file is where, and who may overwrite it."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from dsft.artifact.manifest import installed_versions
from dsft.assembly import Experiment
from dsft.commands.outputs import require_apart
from dsft.data import Split
from dsft.evaluation import Evaluation
from dsft.recipe import Recipe, dump_recipe
from dsft.report import report_evaluation
from dsft.storage import require_replaceable, write_json, write_text
from dsft.surgery import ConversionReport

RECIPE_FILE, RUN_FILE = "recipe.yaml", "run.json"


@dataclass(frozen=True)
class RunFolder:
    """The files that a training run writes beside its checkpoints and its model."""

    path: Path

    def require_free(self, recipe: Recipe, *, overwrite: bool) -> None:
        """Check that a run may write here; change nothing.

        Raises:
            OutputError: The folder is not empty, and ``overwrite`` is off, or it is no earlier run, or it holds
                what the recipe reads.
        """
        require_replaceable(self.path, "run", (RECIPE_FILE, RUN_FILE), overwrite=overwrite)
        teacher = recipe.distill.teacher if recipe.distill is not None else None
        require_apart(self.path, (recipe.model.path, recipe.model.checkpoint, teacher, recipe.data.root))

    def open(self, experiment: Experiment) -> None:
        """Remove an earlier run, and write what this one is made of."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        recipe, splits = experiment.recipe, experiment.splits
        write_text(self.path / RECIPE_FILE, dump_recipe(recipe))
        write_json(self.path / "splits.json", splits.index())
        parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
        run = {
            "name": recipe.name,
            "versions": {"python": platform.python_version(), **installed_versions()},
            "platform": platform.platform(),
            "device": str(experiment.compute.device),
            "threads": torch.get_num_threads(),
            "seeds": {"train": recipe.train.seed, "split": recipe.data.seed},
            "command": sys.argv,
            "data": {split.name.value: {"images": len(split), "fingerprint": split.fingerprint} for split in parts},
        }
        write_json(self.path / RUN_FILE, run)

    def write_costs(self, costs: ConversionReport) -> None:
        """Write ``conversion.json``."""
        write_json(self.path / "conversion.json", costs.to_dict())

    def write_evaluation(self, slot: str, evaluation: Evaluation, split: Split) -> None:
        """Write the tables and pictures of an evaluation."""
        report_evaluation(self.path / "evaluation" / slot, evaluation, split)
