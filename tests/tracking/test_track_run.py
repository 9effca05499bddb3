from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dsft.choices import TrackerName
from dsft.errors import RecipeError
from dsft.progress import EpochDone, Event, FolderOpened, Note, Scored, Warn, ignore
from dsft.tracking import track_run

event_files: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
TENSORBOARD = [TrackerName.JSONL, TrackerName.TENSORBOARD]
CONFIG = {"name": "run", "optim": {"lr": 0.1, "opt": "sgd"}}


def epoch(number: int, **values: float) -> EpochDone:
    return EpochDone(number, 9, {"epoch": number, "step": 10 * number, **values}, best=False)


def logged(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    events = event_files.EventAccumulator(str(folder / "tensorboard")).Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    return {name: [(point.step, pytest.approx(point.value)) for point in points] for name, points in scalars.items()}


def test_tensorboard_gets_every_epoch_and_the_scores(tmp_path: Path) -> None:
    with track_run(TENSORBOARD, "run", CONFIG, ignore) as track:
        track(Note("before there is a folder"))
        track(FolderOpened(tmp_path))
        track(Scored("test-original", {"top1": 50.0}))
        track(epoch(1, train_loss=2.0, **{"val/top1": 40.0}))
        track(epoch(2, train_loss=1.0, **{"val/top1": 60.0}))
        track(Scored("test", {"top1": 58.0}))
    assert logged(tmp_path) == {
        "scores/test-original/top1": [(0, 50.0)],
        "train_loss": [(10, 2.0), (20, 1.0)],
        "val/top1": [(10, 40.0), (20, 60.0)],
        "epoch": [(10, 1.0), (20, 2.0)],
        "scores/test/top1": [(20, 58.0)],
    }
    [text] = event_files.EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tensors("recipe/text_summary")
    assert b'"lr": 0.1' in text.tensor_proto.string_val[0]


def test_what_was_logged_after_the_checkpoint_is_hidden_on_resuming(tmp_path: Path) -> None:
    with track_run(TENSORBOARD, "run", CONFIG, ignore) as track:
        track(FolderOpened(tmp_path))
        for number in (1, 2, 3):
            track(epoch(number, loss=float(number)))
    with track_run(TENSORBOARD, "run", CONFIG, ignore) as track:
        track(FolderOpened(tmp_path, resumed_step=10))
        track(epoch(2, loss=7.0))
    assert logged(tmp_path)["loss"] == [(10, 1.0), (20, 7.0)]


def test_without_a_run_nothing_is_written(tmp_path: Path, here: Path) -> None:
    del tmp_path
    with track_run(TENSORBOARD, "run", CONFIG, ignore) as track:
        track(Note("nothing to see"))
    with track_run([TrackerName.JSONL], "run", CONFIG, ignore) as track:
        track(FolderOpened(here))
        track(epoch(1, loss=1.0))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "tensorboard")])
def test_a_package_that_is_missing_is_named_before_the_run(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in list(sys.modules):
        if known.startswith(("torch.utils.tensorboard", "tensorboard.")):
            monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(RecipeError, match=rf"log\.to: {name} needs .*pip install 'dsft\[{name}\]'"),
        track_run([TrackerName(name)], "run", CONFIG, ignore),
    ):
        pass


class Recorder(ModuleType):
    """Stands for a package that is not installed, with the calls of it that we make."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__("wandb")
        self.calls: list[tuple[str, Any]] = []
        self._fails_at = fails_at

    def init(self, **options: Any) -> Recorder:
        self.calls.append(("init", options))
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if step == self._fails_at:
            raise ConnectionError("no network")
        self.calls.append(("log", (step, values)))

    def finish(self, exit_code: int) -> None:
        self.calls.append(("finish", exit_code))


def test_wandb_continues_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for resumed in (None, 10):
        with track_run([TrackerName.WANDB], "run", CONFIG, ignore) as track:
            track(FolderOpened(tmp_path, resumed))
            track(epoch(2, loss=0.5))
    (_, first), (_, logged_values), (_, code), (_, second), *_ = wandb.calls
    assert (first["resume"], second["resume"]) == ("never", "allow")
    assert first["id"] == second["id"] == json.loads((tmp_path / "tracking.json").read_text())["id"]
    assert (first["name"], first["config"], first["dir"]) == ("run", CONFIG, str(tmp_path))
    assert logged_values == (20, {"loss": 0.5, "epoch": 2})
    assert code == 0


def test_a_tracker_that_fails_is_dropped_and_the_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Recorder(fails_at=20)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    events: list[Event] = []
    with track_run([TrackerName.WANDB, TrackerName.TENSORBOARD], "run", CONFIG, events.append) as track:
        track(FolderOpened(tmp_path))
        for number in (1, 2, 3):
            track(epoch(number, loss=1.0))
    assert [name for name, _ in wandb.calls] == ["init", "log"]
    assert events == [Warn("log.to: wandb failed and is not used any more in this run (ConnectionError: no network)")]
    assert len(logged(tmp_path)["loss"]) == 3


def interrupted(folder: Path) -> None:
    with track_run([TrackerName.WANDB], "run", CONFIG, ignore) as track:
        track(FolderOpened(folder))
        raise KeyboardInterrupt


def test_a_run_that_fails_ends_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path)
    assert wandb.calls[-1] == ("finish", 1)
