"""The folder of a run: where its files are, and when it may be written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from dsft.assembly.experiment import settle_batch_size
from dsft.commands.outputs import require_apart, require_outside
from dsft.conversion import ConversionPlan, ConversionReport
from dsft.conversion.plan_migration import migrate_report
from dsft.data import Split
from dsft.errors import OutputError, RecipeError
from dsft.evaluation import Evaluation
from dsft.recipe import CHANGEABLE, Recipe, dump_recipe, forbidden_changes, load_recipe
from dsft.report import report_evaluation
from dsft.run_files import RECIPE_FILE, RUN_FILE, SPLITS_FILE, is_run_folder, is_unfinished, read_record, resume_command
from dsft.storage import require_overwritable, write_json, write_text
from dsft.tasks import Metrics, Task
from dsft.training import Checkpoint, find_checkpoint

PLAN_FILE, COSTS_FILE = "plan.json", "conversion.json"
PATIENCE = 15.0
"""Seconds to wait for a folder: processes that read images outlive a run that was killed by some seconds."""


@dataclass(frozen=True)
class EarlierRun:
    """A run that was interrupted.

    Attributes:
        recipe: Its recipe, with the numbers that ``auto`` stood for when it began.
        checkpoint: Its last checkpoint.
        plan: Its conversion plan, or None.
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

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes of this machine out of the folder while a run writes it.

        The lock is a temporary file, since the folder need not exist yet. The system frees it when the process ends,
        however that comes about.

        Raises:
            OutputError: Another process writes the folder.
        """
        place = os.path.normcase(self.path.resolve())
        name = f"dsft-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
        lock = FileLock(Path(tempfile.gettempdir()) / name, timeout=PATIENCE)
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"output folder {str(self.path)!r}: another process is writing a run there. Wait for its end, stop it, "
                "or choose another output.dir."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def require_free(self, recipe: Recipe, *, overwrite: bool) -> None:
        """Check that a run may write here; change nothing.

        Raises:
            OutputError: The folder is not empty, and ``overwrite`` is off or it is not an earlier run; or it holds
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

    def claim(self, recipe: Recipe, *, overwrite: bool) -> None:
        """Remove what an earlier run has left.

        Raises:
            OutputError: See :meth:`require_free`; another run may have begun here since that was checked.
        """
        self.require_free(recipe, overwrite=overwrite)
        if not self.path.is_dir():
            return
        # The folder itself stays: it may be the working directory, or a mount point.
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def begin(
        self, recipe: Recipe, record: Mapping[str, Any], splits: Mapping[str, Any], plan: ConversionPlan | None
    ) -> None:
        """Write what a run is made of.

        Args:
            recipe: Its resolved recipe.
            record: The content of ``run.json``.
            splits: The content of ``splits.json``.
            plan: The conversion that it has made, or None.
        """
        write_text(self.path / RECIPE_FILE, dump_recipe(recipe))
        write_json(self.path / SPLITS_FILE, splits)
        if plan is not None:
            write_json(self.path / "checkpoints" / PLAN_FILE, plan.to_dict())
        write_json(self.path / RUN_FILE, record)

    def resume(self, recipe: Recipe) -> None:
        """Record with which recipe and command the run continues."""
        write_text(self.path / RECIPE_FILE, dump_recipe(recipe))
        record = read_record(self.path)
        write_json(self.path / RUN_FILE, {**record, "resumed": [*record.get("resumed", []), sys.argv]})

    def finish(self) -> None:
        """Record that the run has reached its end."""
        write_json(self.path / RUN_FILE, {**read_record(self.path), "finished": True})

    def find_earlier(self, recipe: Recipe, verb: str) -> EarlierRun:
        """Find the interrupted run that a recipe continues; change nothing.

        Raises:
            OutputError: There is no run, or it is finished.
            RecipeError: The recipe has changed in a way that makes it another run, or the other command began it.
            CheckpointError: Every checkpoint is damaged.
        """
        if not is_run_folder(self.path):
            raise OutputError(
                f"--resume: there is no run to continue in {str(self.path)!r}. Start one without --resume."
            )
        record = read_record(self.path)
        if record.get("finished", True):
            raise OutputError(
                f"--resume: the run in {str(self.path)!r} is finished. Choose another output.dir, or start it again "
                "with --overwrite."
            )
        if record.get("verb", verb) != verb:
            raise RecipeError(
                f"--resume: the run in {str(self.path)!r} was started by dsft {record['verb']}. Continue it with "
                f"{resume_command(self.path)!r}."
            )
        before = load_recipe(str(self.path / RECIPE_FILE))
        if recipe.data.batch_size == "auto":
            recipe = settle_batch_size(recipe, before.data.batch_size, before.train.grad_accum)
        self._require_same_recipe(before, recipe)
        plan = self.path / "checkpoints" / PLAN_FILE
        return EarlierRun(
            recipe,
            find_checkpoint(self.path),
            ConversionPlan.from_dict(json.loads(plan.read_bytes())) if plan.is_file() else None,
            record,
        )

    def write_costs(self, costs: ConversionReport, verdict: Mapping[str, Any]) -> None:
        """Write ``conversion.json``: the verdict, and the costs before and after the conversion."""
        write_json(self.path / COSTS_FILE, {"verdict": dict(verdict), **costs.to_dict()})

    def read_costs(self) -> tuple[ConversionReport | None, float | None]:
        """Read the costs in ``conversion.json`` back, if the run has one, and the original's score in its verdict."""
        path = self.path / COSTS_FILE
        if not path.is_file():
            return None, None
        values = migrate_report(json.loads(path.read_text(encoding="utf-8")))
        # Runs of the first edition have no verdict.
        verdict = values.pop("verdict", {})
        return TypeAdapter(ConversionReport).validate_python(values), verdict.get("score_before")

    def write_evaluation(self, slot: str, evaluation: Evaluation, split: Split) -> None:
        """Write the tables and pictures of an evaluation."""
        report_evaluation(self.path / "evaluation" / slot, evaluation, split)

    def read_metrics(self, slot: str, task: Task) -> Metrics | None:
        """Read the metrics of an evaluation back, if there was one."""
        path = self.path / "evaluation" / slot / "metrics.json"
        return TypeAdapter(task.scorer.metrics_type).validate_json(path.read_bytes()) if path.is_file() else None

    def _require_same_recipe(self, before: Recipe, now: Recipe) -> None:
        if changes := forbidden_changes(before, now):
            listed = "\n".join(f"  {change}" for change in changes)
            raise RecipeError(
                f"--resume: the recipe has changed since the run in {str(self.path)!r} began:\n{listed}\nRestore it, "
                f"or start again with --overwrite or another output.dir. What may change: {', '.join(CHANGEABLE)} and, "
                "if the schedule is constant, step or multistep, schedule.epochs."
            )
