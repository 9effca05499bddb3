"""The files of a finished run, as its page reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsft.choices import InputKind, TaskName
from dsft.errors import InputError
from dsft.recipe import Recipe, load_recipe
from dsft.recipe.data_sources import DATA_SOURCES
from dsft.report.sections import Values, read_json
from dsft.run_files import RECIPE_FILE, RUN_FILE, SPLITS_FILE

NETWORKS_BEFORE_TRAINING = {
    "val-teacher": "teacher",
    "test-original": "original",
    "test-converted": "converted, untrained",
}
"""The folders of the evaluations before the training and the names of the evaluated networks, in order."""

_NEEDED = (RECIPE_FILE, RUN_FILE, SPLITS_FILE, "metrics.jsonl", "model/manifest.json")


@dataclass(frozen=True)
class Run:
    """The content of the files of a finished run.

    Attributes:
        folder: The run's folder.
        recipe: ``recipe.yaml``.
        about: ``run.json``.
        manifest: ``manifest.json`` of the trained model.
        classes: The class names.
        history: ``metrics.jsonl``.
        conversion: ``conversion.json``; None without a conversion.
        metrics: ``metrics.json`` of every evaluation, by folder.
    """

    folder: Path
    recipe: Recipe
    about: Values
    manifest: Values
    classes: Sequence[str]
    history: Sequence[Mapping[str, float]]
    conversion: Values | None
    metrics: Mapping[str, Values]

    @property
    def kind(self) -> InputKind:
        """What the network takes."""
        return DATA_SOURCES[self.recipe.data.source].inputs

    @property
    def verb(self) -> str:
        """The command that made the run; runs of the first edition do not record it."""
        return self.about.get("verb") or ("finetune" if self.recipe.model.has_weights else "train")

    @property
    def best(self) -> Mapping[str, float]:
        """The epoch with the best monitored metric; of equal ones the first."""
        return self.kept[0]

    @property
    def kept(self) -> Sequence[Mapping[str, float]]:
        """The epochs whose weights, or whose mean, were kept: the best first, of equal ones the earlier."""
        monitor = self.recipe.evaluate.monitor
        sign = 1 if monitor.endswith("loss") else -1
        return sorted(self.history, key=lambda values: sign * values[monitor])[: self.recipe.output.keep_best]

    @property
    def has_plain_loss(self) -> bool:
        """Whether the training loss is the cross entropy that is measured on val, so that the two are comparable."""
        augment, data = self.recipe.augment, self.recipe.data
        if self.recipe.task is TaskName.DETECTION:  # no loss is measured on val
            return False
        if self.recipe.loss.dice or (self.recipe.task is TaskName.RESTORATION and self.recipe.loss.pixel != "l2"):
            return False
        mixing = (augment.mixup, augment.cutmix, augment.cutmix_minmax)
        return not any((*mixing, augment.smoothing, data.class_weights, self.recipe.distill))

    @property
    def latencies(self) -> Mapping[str, float]:
        """Milliseconds of a forward pass of one image by network, for those that the run has timed."""
        if self.conversion is None:
            return {}
        before, after = (self.conversion[name]["latency_ms"] for name in ("original", "converted"))
        timed = [slot for slot in self.metrics if slot != "val-teacher"]
        return {self.name_of(slot): before if slot == "test-original" else after for slot in timed}

    def name_of(self, slot: str) -> str:
        """Return the name of the network that was evaluated in a folder."""
        return NETWORKS_BEFORE_TRAINING.get(slot, "fine-tuned" if self.verb == "finetune" else "trained")


def read_run(folder: Path) -> Run:
    """Read the files of a finished run.

    Raises:
        InputError: It is not the folder of a finished run.
    """
    if missing := [name for name in _NEEDED if not (folder / name).is_file()]:
        raise InputError(
            f"run folder {str(folder)!r}: expected the folder of a finished run, but {missing[0]} is missing. Give the "
            "output folder of dsft train or dsft finetune."
        )
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    conversion = folder / "conversion.json"
    slots = {path.parent.name: read_json(path) for path in sorted((folder / "evaluation").glob("*/metrics.json"))}
    first = [slot for slot in NETWORKS_BEFORE_TRAINING if slot in slots]
    return Run(
        folder,
        load_recipe(str(folder / RECIPE_FILE)),
        read_json(folder / RUN_FILE),
        read_json(folder / "model" / "manifest.json"),
        read_json(folder / SPLITS_FILE)["classes"],
        [json.loads(line) for line in lines],
        read_json(conversion) if conversion.is_file() else None,
        {slot: slots[slot] for slot in [*first, *(slot for slot in slots if slot not in first)]},
    )
