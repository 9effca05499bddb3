"""The folder of a run: which file is where, and who may overwrite it."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from dsft.artifact.manifest import installed_versions
from dsft.assembly import Experiment
from dsft.assembly.experiment import settle_batch_size
from dsft.commands.outputs import require_apart, require_outside
from dsft.conversion import ConversionPlan, ConversionReport
from dsft.conversion.plan_migration import migrate_report
from dsft.data import Split
from dsft.errors import CheckpointError, DataError, OutputError, RecipeError
from dsft.evaluation import Evaluation
from dsft.recipe import CHANGEABLE, Recipe, dump_recipe, forbidden_changes, load_recipe
from dsft.report import report_evaluation
from dsft.run_files import RECIPE_FILE, RUN_FILE, is_unfinished, resume_command
from dsft.storage import require_overwritable, write_json, write_text
from dsft.tasks import Metrics, Task
from dsft.training import Checkpoint, find_checkpoint

PLAN_FILE, COSTS_FILE = "plan.json", "conversion.json"


@dataclass(frozen=True)
class EarlierRun:
    """A run that stopped before its end.

    Attributes:
        recipe: What it does, with the numbers that ``auto`` stood for when it began.
        checkpoint: Where it stood.
        plan: The conversion that it made, or None.
        record: Its ``run.json``.
    """

    recipe: Recipe
    checkpoint: Checkpoint
    plan: ConversionPlan | None
    record: Mapping[str, Any]


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
        if is_unfinished(self.path) and not overwrite:
            raise OutputError(
                f"output folder {str(self.path)!r}: holds a run that was interrupted. Continue it with "
                f"{resume_command(self.path)!r}, replace it with --overwrite, or choose another output.dir."
            )
        require_overwritable(self.path, "run", (RECIPE_FILE, RUN_FILE), overwrite=overwrite)
        teacher = recipe.distill.teacher if recipe.distill is not None else None
        require_apart(self.path, (recipe.model.path, recipe.model.checkpoint, teacher, recipe.data.root))
        require_outside(self.path, recipe.data)

    def open(self, experiment: Experiment, *, overwrite: bool) -> None:
        """Remove an earlier run, and write what this one is made of.

        Raises:
            OutputError: See :meth:`require_free`: another run may have begun here since that was asked.
        """
        self.require_free(experiment.recipe, overwrite=overwrite)
        if self.path.is_dir():
            # The folder itself stays: it may be where the command was typed, or a mounted one.
            for path in self.path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        recipe, splits = experiment.recipe, experiment.splits
        write_text(self.path / RECIPE_FILE, dump_recipe(recipe))
        write_json(self.path / "splits.json", splits.index())
        if experiment.is_converted and experiment.student.plan is not None:
            write_json(self.path / "checkpoints" / PLAN_FILE, experiment.student.plan.to_dict())
        run = {
            "name": recipe.name,
            "finished": False,
            "versions": _versions(),
            "platform": platform.platform(),
            "device": str(experiment.compute.device),
            "threads": torch.get_num_threads(),
            "processes": experiment.processes.count,
            "seeds": {"train": recipe.train.seed, "split": recipe.data.seed},
            "command": sys.argv,
            "data": _fingerprints(experiment),
            "teacher": _teacher_digest(experiment),
        }
        write_json(self.path / RUN_FILE, run)

    def go_on(self, experiment: Experiment) -> None:
        """Note with which recipe and command the run goes on."""
        write_text(self.path / RECIPE_FILE, dump_recipe(experiment.recipe))
        record = self._record()
        write_json(self.path / RUN_FILE, {**record, "resumed": [*record.get("resumed", []), sys.argv]})

    def close(self) -> None:
        """Note that everything is done: there is nothing left to resume."""
        write_json(self.path / RUN_FILE, {**self._record(), "finished": True})

    def find_earlier(self, recipe: Recipe) -> EarlierRun:
        """Find the run that a recipe is to go on with; change nothing.

        Raises:
            OutputError: There is no run, or it is finished.
            RecipeError: The recipe has changed in a way that makes it another run.
            CheckpointError: No checkpoint is whole.
        """
        if not all((self.path / name).is_file() for name in (RECIPE_FILE, RUN_FILE)):
            raise OutputError(
                f"--resume: there is no run in {str(self.path)!r} to go on with. Leave --resume out to start one."
            )
        record = self._record()
        if record.get("finished", True):
            raise OutputError(
                f"--resume: the run in {str(self.path)!r} is finished. Choose another output.dir, or start it again "
                "with --overwrite."
            )
        before = load_recipe(str(self.path / RECIPE_FILE))
        if recipe.data.batch_size == "auto":
            recipe = settle_batch_size(recipe, before.data.batch_size, before.train.grad_accum)
        if changes := forbidden_changes(before, recipe):
            told = "\n".join(f"  {change}" for change in changes)
            raise RecipeError(
                f"--resume: the recipe has changed since the run in {str(self.path)!r} began:\n{told}\nPut it back, or "
                f"start again with --overwrite or another output.dir. What may change: {', '.join(CHANGEABLE)} and, "
                "where the schedule is constant, step or multistep, schedule.epochs."
            )
        plan = self.path / "checkpoints" / PLAN_FILE
        return EarlierRun(
            recipe,
            find_checkpoint(self.path),
            ConversionPlan.from_dict(json.loads(plan.read_bytes())) if plan.is_file() else None,
            record,
        )

    def require_same_start(self, experiment: Experiment, earlier: EarlierRun) -> None:
        """Check that an experiment has the images and the teacher with which the run began.

        Raises:
            DataError: A split has other images.
            CheckpointError: The teacher has other weights.
        """
        for name, found in _fingerprints(experiment).items():
            before = earlier.record["data"].get(name)
            if before != found:
                count = "none" if before is None else f"{before['images']:,}"
                raise DataError(
                    f"--resume: the {name} split has changed since the run in {str(self.path)!r} began: {count} images "
                    f"then, {found['images']:,} now, or other content. Put the data back, or start again with "
                    "--overwrite."
                )
        if earlier.record["teacher"] != _teacher_digest(experiment):
            raise CheckpointError(
                f"--resume: the teacher has other weights than when the run in {str(self.path)!r} began. Put its model "
                "folder back, or start again with --overwrite."
            )

    def changed_versions(self, earlier: EarlierRun) -> list[str]:
        """List the programs whose version is another than when the run began."""
        before, now = earlier.record["versions"], _versions()
        return [f"{name} {before.get(name)} then, {now[name]} now" for name in now if before.get(name) != now[name]]

    def write_costs(self, costs: ConversionReport) -> None:
        """Write ``conversion.json``."""
        write_json(self.path / COSTS_FILE, costs.to_dict())

    def read_costs(self) -> ConversionReport | None:
        """Read ``conversion.json`` back, where the run has one."""
        path = self.path / COSTS_FILE
        if not path.is_file():
            return None
        values = migrate_report(json.loads(path.read_text(encoding="utf-8")))
        return TypeAdapter(ConversionReport).validate_python(values)

    def write_evaluation(self, slot: str, evaluation: Evaluation, split: Split) -> None:
        """Write the tables and pictures of an evaluation."""
        report_evaluation(self.path / "evaluation" / slot, evaluation, split)

    def read_metrics(self, slot: str, task: Task) -> Metrics | None:
        """Read the metrics of an evaluation back, where there was one."""
        path = self.path / "evaluation" / slot / "metrics.json"
        return TypeAdapter(task.scorer.metrics_type).validate_json(path.read_bytes()) if path.is_file() else None

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        return record


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **installed_versions()}


def _fingerprints(experiment: Experiment) -> dict[str, Any]:
    splits = experiment.splits
    parts = [split for split in (splits.train, splits.val, splits.test) if split is not None]
    return {split.name.value: {"images": len(split), "fingerprint": split.fingerprint} for split in parts}


def _teacher_digest(experiment: Experiment) -> str | None:
    """Return the SHA-256 of the teacher's weights, which a run that goes on must find unchanged."""
    if experiment.teacher is None:
        return None
    digest = hashlib.sha256()
    for name, tensor in experiment.teacher.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
