from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dsft.training.checkpointing.history import Standing, Tally, validated_figures, write_history


def test_the_loss_is_the_mean_over_images() -> None:
    tally = Tally()
    tally.add(1.0, 3)
    tally.add(2.0, 1)
    assert tally.loss == 1.25
    assert tally.images == 4
    values = tally.values(epoch=1, step=2, rate=0.1, validated={"val/top1": 50.0})
    assert list(values) == [
        "epoch", "step", "lr", "train_loss", "val/top1", "seconds", "images_per_second", "data_share"
    ]  # fmt: skip
    assert values["images_per_second"] == pytest.approx(4 / tally.seconds)
    assert values["seconds"] >= tally.seconds > 0


def test_the_time_until_the_images_are_there_is_told_apart() -> None:
    tally = Tally()
    time.sleep(0.03)
    tally.got_data()
    time.sleep(0.01)
    tally.add(1.0, 4)
    assert 0.03 <= tally.data_seconds <= tally.seconds - 0.01
    values = tally.values(epoch=1, step=1, rate=0.1, validated={})
    assert values["data_share"] == tally.data_seconds / tally.seconds


def test_what_is_no_training_is_left_out() -> None:
    tally = Tally()
    time.sleep(0.05)
    tally.start()
    tally.got_data()
    tally.add(1.0, 4)
    assert tally.data_seconds <= tally.seconds < 0.05


def test_each_epoch_is_a_line(tmp_path: Path) -> None:
    history = [{"epoch": 1, "val/loss": 0.1}, {"epoch": 2, "val/loss": 1e-7}]
    write_history(tmp_path, history)
    lines = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == history


def test_a_standing_comes_back_from_json_to_the_bit() -> None:
    standing = Standing(5, [{"epoch": 1, "val/loss": 0.1 + 0.2}], images=3, seconds=0.1)
    standing.tally.add(1 / 3, 7)
    again = Standing.from_dict(json.loads(json.dumps(standing.to_dict())))
    assert again.to_dict() == standing.to_dict()
    again.tally.add(1.0, 1)
    assert again.tally.images == 8
    assert again.tally.seconds > standing.tally.seconds


def test_closing_an_epoch_begins_a_new_tally() -> None:
    standing = Standing()
    standing.tally.add(2.0, 4)
    seconds = standing.tally.seconds
    standing.close_epoch({"epoch": 1})
    assert (standing.history, standing.images, standing.seconds) == ([{"epoch": 1}], 4, seconds)
    assert standing.tally.images == 0


def test_validated_figures_are_what_the_loop_did_not_add() -> None:
    values = Tally(1.0, 1, 1.0).values(epoch=1, step=2, rate=0.1, validated={"val/top1": 50.0})
    assert validated_figures(values) == {"val/top1": 50.0}
