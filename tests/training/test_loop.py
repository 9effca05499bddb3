from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from dsft.choices import WeightsKind
from dsft.errors import RecipeError, TrainingError
from dsft.progress import Advanced, EpochDone, Event, Finished, Report, Started, StoppedEarly, ignore
from dsft.tasks import LossOptions
from dsft.training import FitResult, FitSettings, TrainingSetup, best_folder, find_checkpoint, fit
from tests.training.pieces import (
    CPU,
    DEFAULTS,
    Batch,
    Batches,
    HookedBatches,
    assert_equal_tensors,
    constant_rate,
    distill_settings,
    ema_settings,
    make_batches,
    make_net,
    optimizer_settings,
    schedule_settings,
    stopping_settings,
    tensors_of,
    validation,
)

BATCHES = make_batches(4)


def train(
    net: nn.Module,
    folder: Path,
    settings: FitSettings,
    *top1: float,
    loader: Batches | None = None,
    report: Report = ignore,
    teacher: nn.Module | None = None,
) -> FitResult:
    """Fit with validation figures that are given, by default better every epoch."""
    figures = top1 or tuple(float(epoch) for epoch in range(settings.schedule.epochs))
    return fit(
        TrainingSetup(net, settings, CPU, teacher=teacher),
        Batches(BATCHES) if loader is None else loader,
        validate=validation(*({"val/top1": figure} for figure in figures)),
        folder=folder,
        report=report,
    )


def test_training_is_the_plain_loop(tmp_path: Path) -> None:
    net, plain, teacher = make_net(), make_net(), make_net(seed=9).eval()
    settings = replace(
        DEFAULTS,
        ema=None,
        optimizer=optimizer_settings("adamw", 0.01, weight_decay=0.1, clip_grad=0.5),
        schedule=schedule_settings("cosine", epochs=2),
        distill=distill_settings(0.25, 3.0),
        loss=LossOptions(smoothing=0.1),
    )
    result = train(net, tmp_path, settings, teacher=teacher)

    kernels = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in plain.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(kernels, weight_decay=0.1)
    optimizer.add_param_group({"params": vectors, "weight_decay": 0.0})
    for step, batch in enumerate(BATCHES * 2):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 + math.cos(math.pi * step / 8)) / 2
        logits = plain(batch.images)
        old = (teacher(batch.images).detach() / 3).softmax(1)
        divergence = 9 * functional.kl_div((logits / 3).log_softmax(1), old, reduction="batchmean")
        labels = functional.cross_entropy(logits, batch.targets, label_smoothing=0.1)
        optimizer.zero_grad()
        (0.75 * labels + 0.25 * divergence).backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
    assert result.best_epoch == 2
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    nets = []
    for run, seed in enumerate((3, 3, 4)):
        net = make_net(dropout=0.5)
        torch.rand(run)
        before = torch.get_rng_state()
        train(net, tmp_path / str(run), replace(constant_rate(2), seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        nets.append(tensors_of(net))
    assert_equal_tensors(nets[0], nets[1])
    assert not torch.equal(nets[0]["7.weight"], nets[2]["7.weight"])


def test_the_network_ends_with_the_weights_that_scored_best(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []
    scores = iter([1.0, 5.0, 5.0, 2.0])

    def validate(module: nn.Module) -> Mapping[str, float]:
        seen.append(tensors_of(module))
        return {"val/top1": next(scores)}

    net = make_net()
    settings = replace(constant_rate(4), ema=ema_settings(0.5))
    result = fit(TrainingSetup(net, settings, CPU), Batches(BATCHES), validate=validate, folder=tmp_path)
    assert result.best_epoch == 2
    assert result.best == {"val/top1": 5.0}
    assert result.weights is WeightsKind.EMA
    assert (result.epochs_run, result.steps, result.stopped_early) == (4, 16, False)
    assert_equal_tensors(tensors_of(net), seen[1])
    assert not net.training


def test_patience_ends_the_run(tmp_path: Path) -> None:
    settings = replace(constant_rate(9), stopping=stopping_settings("val/top1", patience=2, min_delta=0.5))
    events: list[Event] = []
    result = train(make_net(), tmp_path, settings, 1.0, 2.0, 2.4, 2.1, report=events.append)
    assert (result.stopped_early, result.epochs_run, result.best_epoch) == (True, 4, 3)
    stops = [event for event in events if isinstance(event, StoppedEarly)]
    assert stops == [StoppedEarly(4, 9, patience=2, monitor="val/top1", best_epoch=3, best=2.4)]


def test_patience_at_the_last_epoch_is_no_early_stop(tmp_path: Path) -> None:
    settings = replace(constant_rate(2), stopping=stopping_settings("val/top1", patience=1))
    events: list[Event] = []
    assert not train(make_net(), tmp_path, settings, 2.0, 1.0, report=events.append).stopped_early
    assert not [event for event in events if isinstance(event, StoppedEarly)]


def test_an_unknown_monitor_is_named(tmp_path: Path) -> None:
    settings = replace(constant_rate(1), stopping=stopping_settings("val/top5"))
    with pytest.raises(RecipeError, match=r"evaluate\.monitor: .* found 'val/top5'\. Did you mean val/top1"):
        train(make_net(), tmp_path, settings)


def test_progress_and_history_agree(tmp_path: Path) -> None:
    events: list[Event] = []
    result = train(make_net(), tmp_path, constant_rate(2, lr=0.05), 7.0, 6.0, report=events.append)
    assert events[0] == Started("training", 8, "steps", epochs=2)
    assert events[-1] == Finished("training")
    assert [event.done for event in events if isinstance(event, Advanced)] == list(range(1, 9))
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [(event.epoch, event.epochs, event.best) for event in epochs] == [(1, 2, True), (2, 2, False)]
    lines = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == list(result.history) == [event.values for event in epochs]
    assert {"epoch": 2, "step": 8, "lr": 0.05, "val/top1": 6.0}.items() <= result.history[1].items()
    assert result.images_per_second > 0
    losses = [event.values["loss"] for event in events if isinstance(event, Advanced)]
    assert [losses[3], losses[7]] == [values["train_loss"] for values in result.history]


def test_best_says_what_it_is(tmp_path: Path) -> None:
    train(make_net(), tmp_path, constant_rate(2), 7.0, 6.0)
    details = json.loads((best_folder(tmp_path) / "checkpoint.json").read_text("utf-8"))
    assert {"weights": "raw", "epoch": 1, "step": 4, "val/top1": 7.0}.items() <= details.items()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was(tmp_path: Path) -> None:
    def spoil(step: int, batch: Batch) -> Batch:
        return Batch(batch.images * math.nan, batch.targets) if step == 5 else batch

    message = r"found nan at step 6 \(epoch 2, learning rate 0\.1\)\. The state before is kept in .*last"
    net = make_net()
    with pytest.raises(TrainingError, match=message):
        train(net, tmp_path, replace(constant_rate(3), save_every="1it"), loader=HookedBatches(BATCHES, spoil))
    assert find_checkpoint(tmp_path).progress.step == 5
    assert best_folder(tmp_path).is_dir()
    assert not net.training


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    net = make_net()
    net.get_parameter("7.weight").register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
    with pytest.raises(TrainingError, match=r"the weights must be finite, found NaN or infinity after step 1 \(epoch"):
        train(net, tmp_path, replace(constant_rate(1), save_every="1it"))
    assert find_checkpoint(tmp_path).progress.step == 0


def test_a_loss_that_is_not_finite_at_once_leaves_the_start(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"found nan at step 1 \(epoch 1, learning rate 0\.1\)\."):
        train(_Overflow(), tmp_path, constant_rate(1))
    assert find_checkpoint(tmp_path).progress.step == 0


class _Overflow(nn.Module):
    """Scores that no loss can read."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        scores = torch.full((len(images), 3), math.inf)
        scores[:, 0] = 0
        return scores * self.scale


def test_no_batch_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the train split has no batch"):
        train(make_net(), tmp_path, constant_rate(1), loader=Batches([]))
    with pytest.raises(TrainingError, match="epoch 1: every batch was empty"):
        train(make_net(), tmp_path, constant_rate(1), loader=HookedBatches(BATCHES, lambda *_: None))


def test_an_epoch_keeps_its_place_in_the_schedule_when_batches_fall_out(tmp_path: Path) -> None:
    def drop(step: int, batch: Batch) -> Batch | None:
        return None if step in (1, 2) else batch

    settings = replace(constant_rate(2), schedule=schedule_settings("step", 2, decay_epochs=1.0))
    result = train(make_net(), tmp_path, settings, loader=HookedBatches(BATCHES, drop))
    assert [(values["step"], values["lr"]) for values in result.history] == [
        (4, 0.1),
        (8, pytest.approx(0.01)),
    ]


def test_an_error_of_the_loader_passes_through(tmp_path: Path) -> None:
    def fail(step: int, batch: Batch) -> Batch:
        raise KeyError(step, batch.targets)

    with pytest.raises(KeyError):
        train(make_net(), tmp_path, constant_rate(1), loader=HookedBatches(BATCHES, fail))


def test_what_follows_an_epoch_is_no_waiting_for_images(tmp_path: Path) -> None:
    def slow(event: Event) -> None:
        if isinstance(event, EpochDone):
            time.sleep(0.5)

    result = train(make_net(), tmp_path, constant_rate(2), report=slow)
    assert result.history[1]["seconds"] < 0.5
