from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dsft.choices import WeightsKind
from dsft.errors import DsftError
from dsft.progress import Advanced, Event, Report, ignore
from dsft.training import FitResult, FitSettings, TrainingSetup, find_checkpoint, fit
from dsft.training.optim.weight_averaging import epochs_folder
from tests.training.pieces import (
    CPU,
    Batches,
    assert_equal_tensors,
    constant_rate,
    ema_settings,
    make_batches,
    make_net,
    tensors_of,
)

SCORES = (5.0, 7.0, 5.0, 6.0)
SETTINGS = replace(constant_rate(4), keep_best=3, save_every="1it", ema=ema_settings(0.5))


class _Stopped(DsftError):
    """What stands for a kill."""


def train(
    folder: Path,
    settings: FitSettings = SETTINGS,
    *,
    resume: bool = False,
    report: Report = ignore,
    scored: list[dict[str, Tensor]] | None = None,
) -> tuple[nn.Module, FitResult]:
    net = make_net(seed=5 if resume else 0)
    checkpoint = find_checkpoint(folder) if resume else None
    scores = iter(SCORES[len(checkpoint.progress.history) if checkpoint else 0 :])

    def validate(module: nn.Module) -> dict[str, float]:
        if scored is not None:
            scored.append(tensors_of(module))
        return {"val/top1": next(scores)}

    batches = Batches(make_batches(3))
    result = fit(
        TrainingSetup(net, settings, CPU), batches, validate=validate, folder=folder, resume=checkpoint, report=report
    )
    return net, result


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of floating-point tensors, and the first of the others."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).float()
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def test_the_weights_are_the_mean_of_the_best_epochs(tmp_path: Path) -> None:
    scored: list[dict[str, Tensor]] = []
    net, result = train(tmp_path, scored=scored)
    assert (result.best_epoch, result.averaged, result.weights) == (2, (2, 4, 1), WeightsKind.AVERAGE)
    expected = mean_of([scored[1], scored[3], scored[0]])
    torch.testing.assert_close(tensors_of(net), expected, rtol=1e-6, atol=1e-7)
    assert not torch.equal(expected["1.running_mean"], scored[1]["1.running_mean"])
    assert sorted(file.name for file in epochs_folder(tmp_path).iterdir()) == [
        f"kept-{epoch}.safetensors" for epoch in (1, 2, 4)
    ]


def test_the_best_epoch_alone_is_no_mean(tmp_path: Path) -> None:
    scored: list[dict[str, Tensor]] = []
    net, result = train(tmp_path, replace(SETTINGS, keep_best=1), scored=scored)
    assert (result.averaged, result.weights) == ((2,), WeightsKind.EMA)
    assert_equal_tensors(tensors_of(net), scored[1])
    assert not epochs_folder(tmp_path).exists()


@pytest.mark.parametrize("step", range(3, 12))
def test_a_resumed_run_ends_with_the_same_mean(step: int, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Advanced) and event.done == step:
            raise _Stopped

    unbroken, result = train(tmp_path / "unbroken")
    with pytest.raises(_Stopped):
        train(tmp_path / "run", replace(SETTINGS, save_every="2it"), report=stop)
    resumed, again = train(tmp_path / "run", replace(SETTINGS, save_every="2it"), resume=True)
    assert again.averaged == result.averaged
    assert_equal_tensors(tensors_of(resumed), tensors_of(unbroken))
