"""A run that stops and goes on ends as if it had never stopped, to the bit."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dsft.choices import SplitName
from dsft.data import LoaderSettings, Split, make_loader
from dsft.data.sources import ImageArray
from dsft.errors import DsftError, InterruptedRun, TrainingError
from dsft.progress import Advanced, CheckpointSaved, EpochDone, Event, Report, Started, ignore
from dsft.training import FitResult, FitSettings, TrainingSetup, best_folder, find_checkpoint, fit, last_folder
from tests.training.pieces import (
    CPU,
    Batch,
    Batches,
    HookedBatches,
    assert_equal_tensors,
    constant_rate,
    distill_settings,
    ema_settings,
    freeze_phase,
    make_batches,
    make_net,
    stopping_settings,
    tensors_of,
)

BATCHES = make_batches(5)
SCORES = (3.0, 5.0, 4.0)
SETTINGS = replace(
    constant_rate(3, 0.05, "adamw", weight_decay=0.1, clip_grad=0.5),
    ema=ema_settings(0.7),
    freeze=(freeze_phase("7it", ("7.*",)),),
    distill=distill_settings(0.5),
    grad_accum=2,
    save_every="1000it",
)
STEPS = 9


class _Stopped(DsftError):
    """What stands for a kill: nothing is saved on the way out."""


def train(
    folder: Path,
    settings: FitSettings = SETTINGS,
    *,
    loader: Batches | None = None,
    resume: bool = False,
    report: Report = ignore,
) -> tuple[dict[str, torch.Tensor], FitResult]:
    net = make_net(seed=5 if resume else 0, dropout=0.5)
    checkpoint = find_checkpoint(folder) if resume else None
    scores = iter(SCORES[len(checkpoint.progress.history) if checkpoint else 0 :])

    def validate(module: nn.Module) -> Mapping[str, float]:
        del module
        return {"val/top1": next(scores)}

    teacher = make_net(seed=9) if settings.distill else None
    result = fit(
        TrainingSetup(net, settings, CPU, teacher=teacher),
        loader or Batches(BATCHES),
        validate=validate,
        folder=folder,
        resume=checkpoint,
        report=report,
    )
    return tensors_of(net), result


def stop_at(step: int, how: signal.Signals | None = None) -> Report:
    """Return a report that ends the run after a step: by a signal, or at once."""

    def report(event: Event) -> None:
        if isinstance(event, Advanced) and event.done == step:
            if how is None:
                raise _Stopped
            os.kill(os.getpid(), how)

    return report


def figures(result: FitResult) -> list[dict[str, float]]:
    timed = ("seconds", "images_per_second", "data_share")
    return [{name: value for name, value in values.items() if name not in timed} for values in result.history]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], FitResult]:
    return train(tmp_path_factory.mktemp("unbroken"))


def assert_same(
    ended: tuple[dict[str, torch.Tensor], FitResult], unbroken: tuple[dict[str, torch.Tensor], FitResult]
) -> None:
    assert_equal_tensors(ended[0], unbroken[0])
    assert figures(ended[1]) == figures(unbroken[1])
    assert (ended[1].best_epoch, ended[1].best, ended[1].steps) == (2, {"val/top1": 5.0}, STEPS)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_signal_after_any_step_changes_nothing(
    step: int, tmp_path: Path, unbroken: tuple[dict[str, torch.Tensor], FitResult]
) -> None:
    with pytest.raises(InterruptedRun):
        train(tmp_path, report=stop_at(step, signal.SIGTERM))
    assert_same(train(tmp_path, resume=True), unbroken)


def test_a_killed_run_resumes_from_the_last_save(
    tmp_path: Path, unbroken: tuple[dict[str, torch.Tensor], FitResult]
) -> None:
    settings = replace(SETTINGS, save_every="4it")
    with pytest.raises(_Stopped):
        train(tmp_path, settings, report=stop_at(7))
    # The second epoch is the best so far and came after the save: it shall not stay.
    assert find_checkpoint(tmp_path).progress.step == 4
    seen: list[Event] = []
    assert_same(train(tmp_path, settings, resume=True, report=seen.append), unbroken)
    assert seen[0] == Started("training", STEPS, "steps", 4, epochs=3)
    assert [event.done for event in seen if isinstance(event, Advanced)] == [5, 6, 7, 8, 9]
    assert [event.epoch for event in seen if isinstance(event, EpochDone)] == [2, 3]
    assert [event.step for event in seen if isinstance(event, CheckpointSaved)] == [8, 9]


def test_the_start_can_be_resumed(tmp_path: Path, unbroken: tuple[dict[str, torch.Tensor], FitResult]) -> None:
    with pytest.raises(_Stopped):
        train(tmp_path, report=stop_at(1))
    assert_same(train(tmp_path, resume=True), unbroken)


def test_what_is_over_only_gives_its_result_again(
    tmp_path: Path, unbroken: tuple[dict[str, torch.Tensor], FitResult]
) -> None:
    train(tmp_path)
    seen: list[Event] = []
    assert_same(train(tmp_path, resume=True, report=seen.append), unbroken)
    assert not [event for event in seen if isinstance(event, Advanced)]


def test_patience_counts_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, stopping=stopping_settings(patience=1), save_every="1it")
    with pytest.raises(_Stopped):
        train(tmp_path, settings, report=stop_at(8))
    _, result = train(tmp_path, settings, resume=True)
    assert (result.epochs_run, result.best_epoch, result.stopped_early) == (3, 2, False)
    settings = replace(constant_rate(9), stopping=stopping_settings(patience=1), save_every="1it")
    with pytest.raises(_Stopped):
        train(tmp_path / "other", settings, report=stop_at(11))
    _, result = train(tmp_path / "other", settings, resume=True)
    assert (result.epochs_run, result.best_epoch, result.stopped_early) == (3, 2, True)


def test_batches_that_fall_out_fall_out_again(tmp_path: Path) -> None:
    def drop(at: int, batch: Batch) -> Batch | None:
        return None if at in (1, 2, 4) else batch

    whole = train(tmp_path / "whole", loader=HookedBatches(BATCHES, drop))
    with pytest.raises(_Stopped):
        train(tmp_path, replace(SETTINGS, save_every="1it"), loader=HookedBatches(BATCHES, drop), report=stop_at(2))
    again = train(tmp_path, loader=HookedBatches(BATCHES, drop), resume=True)
    assert_equal_tensors(again[0], whole[0])
    assert figures(again[1]) == figures(whole[1])


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, unbroken: tuple[dict[str, torch.Tensor], FitResult]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(event: Event) -> None:
        if isinstance(event, CheckpointSaved) and event.step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))

    message = r"checkpoints': the checkpoint cannot be saved: .*The one before it is intact\. Free"
    try:
        with pytest.raises(TrainingError, match=message):
            train(tmp_path, replace(SETTINGS, save_every="2it"), report=fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert find_checkpoint(tmp_path).progress.step == 2
    assert {path.name for path in last_folder(tmp_path).parent.iterdir()} <= {"last", "previous", "best"}
    assert_same(train(tmp_path, resume=True), unbroken)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_worker_that_is_killed_is_named_and_the_checkpoint_is_kept(tmp_path: Path) -> None:
    def transform(image: Image.Image) -> torch.Tensor:
        if image.getpixel((0, 0)) == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.ones(2, 5, 5)

    pixels = np.array([0] * 8 + [7] + [0] * 7, dtype=np.uint8)[:, None, None] * np.ones((5, 5), dtype=np.uint8)
    source = ImageArray("array", ("a", "b", "c"), pixels, tuple(index % 3 for index in range(16)))
    loader = make_loader(
        Split(SplitName.TRAIN, source, tuple(range(16)), source.classes),
        transform,
        LoaderSettings(batch_size=4, workers=1),
        shuffle=True,
    )
    with pytest.raises(TrainingError, match=r"a worker process of the data loader was killed.*Lower data\.workers"):
        fit(
            TrainingSetup(make_net(), constant_rate(1), CPU),
            loader,
            validate=lambda module: {"val/top1": float(module.training)},
            folder=tmp_path,
        )
    assert find_checkpoint(tmp_path).progress.step == 0
    assert not best_folder(tmp_path).exists()
