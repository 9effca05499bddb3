from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsft.training.history import Tally, write_history


def test_the_loss_is_the_mean_over_images() -> None:
    tally = Tally()
    tally.add(1.0, 3)
    tally.add(2.0, 1)
    assert tally.loss == 1.25
    assert tally.images == 4
    values = tally.values(epoch=1, step=2, rate=0.1, validated={"val/top1": 50.0})
    assert list(values) == [
        "epoch", "step", "lr", "train_loss", "val/top1", "seconds", "images_per_second"
    ]  # fmt: skip
    assert values["images_per_second"] == pytest.approx(4 / tally.seconds)
    assert values["seconds"] >= tally.seconds > 0


def test_each_epoch_is_a_line(tmp_path: Path) -> None:
    history = [{"epoch": 1, "val/loss": 0.1}, {"epoch": 2, "val/loss": 1e-7}]
    write_history(tmp_path, history)
    lines = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == history
