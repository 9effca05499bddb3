"""Real signals, sent to this process inside the loop and to a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch import nn

from dsft.errors import InterruptedRun
from dsft.progress import CheckpointSaved, Event, Note, Report, ignore
from dsft.training import (
    FitSettings,
    TrainingSetup,
    best_folder,
    find_checkpoint,
    fit,
    ignored_save_signal,
    last_folder,
)
from tests.training.pieces import CPU, Batch, Batches, HookedBatches, constant_rate, make_batches, make_net

BATCHES = make_batches(4)


def interrupt_at(step: int, number: signal.Signals) -> HookedBatches:
    """Send a signal while the batch of a step is fetched; that step is still done."""

    def change(at: int, batch: Batch) -> Batch:
        if at == step:
            os.kill(os.getpid(), number)
        return batch

    return HookedBatches(BATCHES, change)


def train(
    net: nn.Module,
    loader: Batches,
    folder: Path,
    settings: FitSettings,
    top1: float | None = 1.0,
    report: Report = ignore,
) -> None:
    """Fit; without ``top1`` the validation is interrupted."""

    def validate(module: nn.Module) -> Mapping[str, float]:
        del module
        if top1 is None:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the validation was not broken off")
        return {"val/top1": top1}

    fit(TrainingSetup(net, settings, CPU), loader, validate=validate, folder=folder, report=report)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_saves(number: signal.Signals, code: int, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    message = rf"stopped by {number.name} after step 6 of 12; the state is saved in .*last'"
    with pytest.raises(InterruptedRun, match=message) as stopped:
        train(make_net(), interrupt_at(5, number), tmp_path, constant_rate(3))
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) == before
    details = json.loads((last_folder(tmp_path) / "checkpoint.json").read_text("utf-8"))
    assert details["step"] == 6
    assert [values["epoch"] for values in details["history"]] == [1]
    assert best_folder(tmp_path).is_dir()


def test_a_validation_is_broken_off(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRun, match="stopped by SIGTERM after step 4 of 8"):
        train(make_net(), Batches(BATCHES), tmp_path, constant_rate(2), top1=None)
    assert json.loads((last_folder(tmp_path) / "checkpoint.json").read_text("utf-8"))["history"] == []


def test_a_loader_that_the_signal_broke_is_no_failure(tmp_path: Path) -> None:
    def die(step: int, batch: Batch) -> Batch:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("DataLoader worker is killed by signal: Terminated.")
        return batch

    with pytest.raises(InterruptedRun, match="after step 2 of 4"):
        train(make_net(), HookedBatches(BATCHES, die), tmp_path, constant_rate(1))


def test_a_signal_during_the_last_save_is_heeded(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, CheckpointSaved) and event.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun, match="stopped by SIGTERM after step 4 of 4"):
        train(make_net(), Batches(BATCHES), tmp_path, constant_rate(1), report=stop)
    net = make_net()
    resumed = fit(
        TrainingSetup(net, constant_rate(1), CPU),
        Batches(BATCHES),
        validate=lambda module: {"val/top1": float(module.training)},
        folder=tmp_path,
        resume=find_checkpoint(tmp_path),
    )
    assert resumed.steps == 4


def test_sigusr1_saves_and_the_run_continues(tmp_path: Path) -> None:
    events: list[Event] = []
    train(make_net(), interrupt_at(5, signal.SIGUSR1), tmp_path, constant_rate(3), report=events.append)
    assert Note("SIGUSR1: the state after step 6 is saved.") in events
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [0, 6, 12]


def test_sigusr1_outside_the_training_passes() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with ignored_save_signal():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before


SCRIPT = """
import sys, time
from pathlib import Path
import dsft.training as training
from dsft.errors import InterruptedRun
from tests.training.pieces import CPU, HookedBatches, constant_rate, make_batches, make_net

def wait(step, batch):
    if step == 3:
        print("step 3", flush=True)
        while SECOND or not handled():
            time.sleep(0.01)
    return batch

def handled():
    import signal
    return signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

SECOND = sys.argv[2] == "twice"
try:
    training.fit(training.TrainingSetup(make_net(), constant_rate(9), CPU), HookedBatches(make_batches(2), wait),
                 validate=lambda module: {"val/top1": 1.0}, folder=Path(sys.argv[1]))
except InterruptedRun as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start(folder: Path, mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "step 3\n"
    return process


def test_a_process_that_is_terminated_leaves_a_checkpoint(tmp_path: Path) -> None:
    process = start(tmp_path, "once")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM after step 4 of 18" in errors
    assert (last_folder(tmp_path) / "state.pt").is_file()


def test_a_second_ctrl_c_ends_the_process_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "twice")
    process.send_signal(signal.SIGINT)
    # Two signals that wait at the same time would count as one.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
