from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dsft.training.checkpointing.history import EpochMeter, RunProgress, validation_metrics, write_history


def test_the_loss_is_the_mean_over_images() -> None:
    meter = EpochMeter()
    meter.add(1.0, 3)
    meter.add_step_time()
    meter.add(2.0, 1)
    assert meter.loss == 1.25
    assert meter.images == 4
    values = meter.values(epoch=1, step=2, rate=0.1, validated={"val/top1": 50.0})
    assert list(values) == [
        "epoch", "step", "lr", "train_loss", "val/top1", "seconds", "images_per_second", "data_share"
    ]  # fmt: skip
    assert values["images_per_second"] == pytest.approx(4 / meter.seconds)
    assert values["seconds"] >= meter.seconds > 0


def test_waiting_for_images_is_measured() -> None:
    meter = EpochMeter()
    time.sleep(0.03)
    meter.add_data_time()
    time.sleep(0.01)
    meter.add_step_time()
    meter.add(1.0, 4)
    assert 0.03 <= meter.data_seconds <= meter.seconds - 0.01
    values = meter.values(epoch=1, step=1, rate=0.1, validated={})
    assert values["data_share"] == meter.data_seconds / meter.seconds


def test_time_before_start_is_not_counted() -> None:
    meter = EpochMeter()
    time.sleep(0.05)
    meter.start()
    meter.add_data_time()
    meter.add_step_time()
    assert meter.data_seconds <= meter.seconds < 0.05


def test_each_epoch_is_a_line(tmp_path: Path) -> None:
    history = [{"epoch": 1, "val/loss": 0.1}, {"epoch": 2, "val/loss": 1e-7}]
    write_history(tmp_path, history)
    lines = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == history


def test_progress_survives_json_exactly() -> None:
    progress = RunProgress(5, [{"epoch": 1, "val/loss": 0.1 + 0.2}], images=3, seconds=0.1)
    progress.meter.add(1 / 3, 7)
    progress.meter.add_step_time()
    again = RunProgress.from_dict(json.loads(json.dumps(progress.to_dict())))
    assert again.to_dict() == progress.to_dict()
    again.meter.add(1.0, 1)
    again.meter.add_step_time()
    assert again.meter.images == 8
    assert again.meter.seconds > progress.meter.seconds


def test_closing_an_epoch_resets_the_meter() -> None:
    progress = RunProgress()
    progress.meter.add(2.0, 4)
    seconds = progress.meter.seconds
    progress.close_epoch({"epoch": 1})
    assert (progress.history, progress.images, progress.seconds) == ([{"epoch": 1}], 4, seconds)
    assert progress.meter.images == 0


def test_validation_metrics_are_what_the_loop_did_not_add() -> None:
    values = EpochMeter(1.0, 1, 1.0).values(epoch=1, step=2, rate=0.1, validated={"val/top1": 50.0})
    assert validation_metrics(values) == {"val/top1": 50.0}
