from __future__ import annotations

import re
from pathlib import Path

import pytest

from dsft.console import write_log
from dsft.errors import TrainingError
from dsft.progress import Advanced, CheckpointSaved, EpochDone, Finished, FolderOpened, Note, Started, Warn

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "


def lines(folder: Path) -> list[str]:
    return (folder / "train.log").read_text(encoding="utf-8").splitlines()


def fail_in(folder: Path, error: Exception) -> None:
    with write_log() as report:
        report(FolderOpened(folder))
        raise error


def test_what_came_before_the_folder_is_written_first(tmp_path: Path) -> None:
    with write_log() as report:
        report(Note("data: größer"))
        report(FolderOpened(tmp_path))
        report(Warn("the teacher is weak"))
        report(Started("train", 10, "steps"))
        report(Advanced("train", 1, {"loss": 2.5}))
        report(EpochDone(1, 3, {"epoch": 1, "val/top1": 97.25}, best=True))
        report(Finished("train"))
        # A reader sees every line at once.
        assert len(lines(tmp_path)) == 4
        report(Started("refitting layers", 2, "layers"))
        report(Finished("refitting layers", "refitted 2 layers"))
    written = lines(tmp_path)
    assert all(re.match(STAMP, line) for line in written)
    assert [re.sub(f"^{STAMP}", "", line) for line in written] == [
        "data: größer",
        "warning: the teacher is weak",
        "epoch      top-1 %",
        "epoch 1/3    97.25  best",
        "refitted 2 layers",
    ]


def test_a_command_without_a_run_writes_nothing(here: Path) -> None:
    with write_log() as report:
        report(Note("planned"))
    assert list(here.iterdir()) == []


def test_what_ended_a_run_is_the_last_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        fail_in(tmp_path, TrainingError("the loss is nan"))
    assert re.fullmatch(f"{STAMP}ended by TrainingError: the loss is nan", lines(tmp_path)[-1])


def test_an_unexpected_error_leaves_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_in(tmp_path, ZeroDivisionError("division by zero"))
    written = lines(tmp_path)
    assert re.fullmatch(f"{STAMP}ended by an unexpected error", written[0])
    assert written[1].startswith("Traceback")
    assert "ZeroDivisionError: division by zero" in written


def test_an_error_before_the_run_begins_has_no_file(here: Path) -> None:
    with pytest.raises(TrainingError), write_log():
        raise TrainingError("too early")
    assert list(here.iterdir()) == []


def test_a_resumed_run_truncates_its_log_at_the_checkpoint(tmp_path: Path) -> None:
    with write_log() as report:
        report(Note("data: 10 images"))
        report(FolderOpened(tmp_path))
        report(CheckpointSaved(4))
        report(Note("kept"))
        report(CheckpointSaved(14))
        report(Note("in vain"))
    with (tmp_path / "train.log").open("a", encoding="utf-8") as file:
        file.write("half a li")
    with write_log() as report:
        report(Note("data: 10 images, said again"))
        report(FolderOpened(tmp_path, resumed_step=14))
        report(Note("resumed"))
    said = ["data: 10 images", "checkpoint after step 4", "kept", "checkpoint after step 14", "resumed"]
    assert [re.sub(f"^{STAMP}", "", line) for line in lines(tmp_path)] == said


def test_a_resumed_log_has_the_header_of_the_epochs_once(tmp_path: Path) -> None:
    for epoch, resumed_step in ((1, None), (2, 10)):
        with write_log() as report:
            report(FolderOpened(tmp_path, resumed_step))
            report(EpochDone(epoch, 2, {"epoch": epoch, "val/top1": 97.25}, best=False))
            report(CheckpointSaved(10 * epoch))
    written = [line.split("  ", 1)[1] for line in lines(tmp_path)]
    assert [line for line in written if line.startswith("epoch")] == [
        "epoch      top-1 %",
        "epoch 1/2    97.25",
        "epoch 2/2    97.25",
    ]


def test_a_checkpoint_that_the_log_does_not_know_cuts_nothing_but_half_a_line(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("one\ntwo\nhalf a li", encoding="utf-8")
    with write_log() as report:
        report(FolderOpened(tmp_path, resumed_step=3))
    assert lines(tmp_path) == ["one", "two"]
    (tmp_path / "train.log").unlink()
    with write_log() as report:
        report(FolderOpened(tmp_path, resumed_step=3))
    assert lines(tmp_path) == []
