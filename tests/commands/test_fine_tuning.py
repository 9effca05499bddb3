"""The options of a fine-tuning together, each of which has tests of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workshop import Workshop, dsft, write_pictures

event_files: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def write_table(folder: Path) -> Path:
    """Write pictures of two new classes, one of them rare, and a table of them."""
    counts = {"dog": 12, "elk": 4}
    write_pictures(folder, counts)
    rows = [f"{name}/{number:03d}.png,{name}" for name, count in counts.items() for number in range(count)]
    table = folder / "images.csv"
    table.write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    return table


def test_a_conversion_is_tuned_to_new_classes_by_features_alone(workshop: Workshop, tmp_path: Path) -> None:
    changes = [
        f"data={{source: csv, root: {write_table(tmp_path / 'own').as_posix()}, image_size: 32, batch_size: 5}}",
        "data.val={fold: 1, folds: 3}",
        "data.sampler=balanced",
        "data.class_weights={elk: 2}",
        "augment={mixup: 0.4, cutmix: 1.0, mixup_mode: elem, smoothing: 0.1}",
        "optim={layer_decay: 0.8, lr_mult: {head: 5}, depthwise_decay: false}",
        "freeze=[{until: 1ep, train: [head, converted], gradual: true}]",
        "distill={logits: 0, features: 1}",
        "train={grad_accum: 2, grad_checkpointing: true}",
        "schedule.epochs=1",
        "log.to=[tensorboard]",
        f"output.dir={(tmp_path / 'run').as_posix()}",
    ]
    done = dsft("finetune", workshop.separable_recipe, *changes, "--json", "--progress", "plain")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    # The original knows other classes: neither it nor the untrained conversion is scored.
    assert set(result["scores"]) == {"val", "test"}
    assert result["scores"]["val"]["count"] == 4
    [line] = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["train_loss"] > 0
    events = event_files.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"train_loss", "val/top1", "scores/test/top1"} <= set(events.Tags()["scalars"])
    assert "freeze: From step 0 until step 1" in done.stderr
