from __future__ import annotations

import re
from pathlib import Path

import pytest

from dsft.console import write_log
from dsft.errors import TrainingError
from dsft.progress import Advanced, EpochDone, Finished, FolderOpened, Note, Started, Warn

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
        assert len(lines(tmp_path)) == 3
    written = lines(tmp_path)
    assert all(re.match(STAMP, line) for line in written)
    assert [re.sub(f"^{STAMP}", "", line) for line in written] == [
        "data: größer",
        "warning: the teacher is weak",
        "epoch 1/3 best  val/top1=97.25",
    ]


def test_a_command_without_a_run_writes_nothing(here: Path) -> None:
    with write_log() as report:
        report(Note("planned"))
    assert list(here.iterdir()) == []


def test_what_ended_a_run_is_the_last_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        fail_in(tmp_path, TrainingError("the loss is nan"))
    assert re.fullmatch(f"{STAMP}ended by TrainingError: the loss is nan", lines(tmp_path)[-1])


def test_an_unforeseen_error_leaves_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_in(tmp_path, ZeroDivisionError("division by zero"))
    written = lines(tmp_path)
    assert re.fullmatch(f"{STAMP}ended by an unforeseen error", written[0])
    assert written[1].startswith("Traceback")
    assert "ZeroDivisionError: division by zero" in written


def test_an_error_before_the_run_begins_has_no_file(here: Path) -> None:
    with pytest.raises(TrainingError), write_log():
        raise TrainingError("too early")
    assert list(here.iterdir()) == []
