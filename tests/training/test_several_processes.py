from __future__ import annotations

import functools
import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsft.distributed.processes import ALONE, Processes
from dsft.errors import InterruptedRun, TrainingError
from dsft.progress import Advanced, EpochDone, Event, ignore
from dsft.training import FitSettings, TrainingSetup, find_checkpoint, fit, sync_interval
from dsft.training.train_step import TrainStep
from tests.distributed.siblings import run_together
from tests.training.pieces import (
    CPU,
    Batch,
    Batches,
    assert_equal_tensors,
    constant_rate,
    ema_settings,
    freeze_phase,
    make_batches,
    make_net,
    tensors_of,
)

HEAD = ("7.weight", "7.bias")
SETTINGS = replace(
    constant_rate(2, 0.05, "momentum", momentum=0.9, clip_grad=0.5),
    grad_accum=2,
    freeze=(freeze_phase("1it", ("head",)),),
    ema=ema_settings(0.5),
    keep_best=2,
)
WHOLE = make_batches(5, 6)


def plain_net() -> nn.Sequential:
    """A network without statistics over the batch, and with a part that no pass uses."""
    net = make_net()
    net[1], net[4] = nn.GroupNorm(2, 4), nn.GroupNorm(2, 4)
    net[2].unused = nn.Linear(2, 2)
    nn.init.ones_(net[2].unused.weight)
    nn.init.zeros_(net[2].unused.bias)
    return net


def parts_of(rank: int, count: int) -> list[Batch]:
    """Share batches out unevenly; of the last the second process has nothing."""
    cuts = [0, 4, 6] if count == 2 else [0, 6]
    batches = [
        Batch(whole.images[cuts[rank] : cuts[rank + 1]], whole.targets[cuts[rank] : cuts[rank + 1]]) for whole in WHOLE
    ]
    return [*batches[:-1], WHOLE[-1] if rank == 0 else Batch(torch.empty(0), torch.empty(0, dtype=torch.int64))]


class _Parts(Batches):
    """A loader that skips empty batches, as dsft's own does, and knows the size of the whole ones."""

    def images_in(self, number: int) -> int | None:
        return len(WHOLE[number].images)

    def epoch(self, number: int, start: int = 0) -> Any:
        return (batch for batch in super().epoch(number, start) if len(batch.images))


def train(
    processes: Processes,
    folder: Path,
    make: Callable[[], nn.Module],
    settings: FitSettings = SETTINGS,
    *,
    stop_at: int | None = None,
    reads_every_loss: bool = True,
) -> dict[str, Any]:
    # Created here, since tensors that are sent to other processes are shared with them.
    net = make()
    if processes.count > 1 and reads_every_loss:
        # Only this process is affected: it was started for the test.
        sync_interval.MAX_STEPS = 1
    losses: list[float] = []
    epochs: list[float] = []
    scores = iter((1.0, 2.0, 3.0))
    # The first one's answer counts: another may look when that has saved already.
    resume = processes.broadcast(find_checkpoint(folder) if (folder / "checkpoints").is_dir() else None)

    def report(event: Event) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event.values["train_loss"])
        if isinstance(event, Advanced):
            losses.extend(loss for name, loss in event.values.items() if name == "loss")
            if event.done == stop_at and processes.rank == processes.count - 1:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)

    def validate(module: nn.Module) -> Mapping[str, float]:
        del module
        # Each has another figure; that of the first counts.
        return {"val/top1": next(scores) + processes.rank}

    message = ""
    try:
        result = fit(
            TrainingSetup(net, settings, CPU, head=HEAD, processes=processes),
            _Parts(parts_of(processes.rank, processes.count)),
            validate=validate,
            folder=folder if processes.is_first else folder / "nowhere",
            resume=resume,
            report=report,
        )
    except InterruptedRun as error:
        message, result = str(error), None
    return {
        "losses": losses,
        "epochs": epochs,
        "weights": tensors_of(net),
        "message": message,
        "result": result and result.best,
    }


def assert_close(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    torch.testing.assert_close(dict(first), dict(second), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(Processes(), tmp_path_factory.mktemp("alone"), plain_net)


def test_several_processes_train_as_one(alone: dict[str, Any], tmp_path: Path) -> None:
    first, second = run_together(functools.partial(train, folder=tmp_path, make=plain_net))
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert first["losses"] == second["losses"]
    assert first["result"] == second["result"] == alone["result"] == {"val/top1": 2.0}
    assert_equal_tensors(first["weights"], second["weights"])
    assert_close(first["weights"], alone["weights"])
    assert torch.equal(first["weights"]["2.unused.weight"], torch.ones(2, 2))
    assert not (tmp_path / "nowhere").exists()


def test_losses_need_not_be_read_at_every_step(alone: dict[str, Any], tmp_path: Path) -> None:
    first, second = run_together(functools.partial(train, folder=tmp_path, make=plain_net, reads_every_loss=False))
    # The last loss of an epoch is its mean, and is always read.
    assert first["epochs"] == second["epochs"] == pytest.approx(alone["epochs"], rel=1e-5)
    assert_close(first["weights"], alone["weights"])


@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_to_one_process_stops_all_and_any_number_resumes(
    alone: dict[str, Any], tmp_path: Path, count: int
) -> None:
    first, second = run_together(functools.partial(train, folder=tmp_path, make=plain_net, stop_at=2))
    assert first["message"] == second["message"].replace("/nowhere", "")
    assert first["message"].startswith("stopped by SIGTERM after step 2 of 6; the state is saved in ")
    again = functools.partial(train, folder=tmp_path, make=make_other)
    resumed = run_together(again)[0] if count == 2 else again(Processes())
    assert [*first["losses"], *resumed["losses"]] == pytest.approx(alone["losses"], rel=1e-5)
    assert_close(resumed["weights"], alone["weights"])


def make_other() -> nn.Sequential:
    """The same network with weights that a checkpoint must replace in every process."""
    net = plain_net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    return net


def step_of(net: nn.Module, processes: Processes = ALONE) -> TrainStep:
    return TrainStep(
        TrainingSetup(net, constant_rate(1, 0.1), CPU, processes=processes), steps_per_epoch=1, report=ignore
    )


def step_with_norms(processes: Processes) -> dict[str, Tensor]:
    net = make_net()
    train_step = step_of(net, processes)
    train_step.run(0, [parts_of(processes.rank, processes.count)[0]], images=6)
    train_step.share_statistics()
    return tensors_of(net)


def test_running_statistics_are_those_of_the_first_process() -> None:
    first, second = run_together(step_with_norms)
    assert_equal_tensors(first, second)
    net = make_net().train()
    net(parts_of(0, 2)[0].images)
    own = tensors_of(net)
    assert_equal_tensors(*({name: state[name] for name in own if "running" in name} for state in (first, own)))


def step_with_dropout(processes: Processes) -> float:
    return step_of(make_net(dropout=0.5), processes).run(0, [WHOLE[0]], images=12).item()


def test_dropout_differs_between_processes() -> None:
    both = sum(run_together(step_with_dropout))
    train_step = step_of(make_net(dropout=0.5))
    # With equal masks the mean over the same images twice would be that over them once.
    assert both != pytest.approx(train_step.run(0, [WHOLE[0]]).item(), rel=1e-6)


def train_to_nan(processes: Processes, folder: Path) -> str:
    net = plain_net()
    if processes.rank:
        # Only in process 1, so that process 0 learns of it from the loss and the gradients.
        parts = [replace(batch, images=batch.images * (math.nan if at else 1)) for at, batch in enumerate(WHOLE[:3])]
    else:
        parts = WHOLE[:3]
    settings = replace(constant_rate(9, 0.1), save_every="9it")
    with pytest.raises(TrainingError) as error:
        fit(
            TrainingSetup(net, settings, CPU, processes=processes),
            _Parts(parts),
            validate=lambda module: {"val/top1": float(module.training)},
            folder=folder if processes.is_first else folder / "nowhere",
        )
    return str(error.value)


def test_a_loss_that_is_not_finite_stops_all_before_anything_is_saved(tmp_path: Path) -> None:
    first, second = run_together(functools.partial(train_to_nan, folder=tmp_path))
    assert first.startswith("the loss must be finite, found nan at step 2 (epoch 1,")
    assert second == first.replace("checkpoints", "nowhere/checkpoints")
    assert find_checkpoint(tmp_path).progress.step == 0


def net_of_blocks() -> nn.Module:
    """A network with BatchNorm in blocks, which can be checkpointed."""
    net = make_net()
    blocks = nn.Sequential(nn.Sequential(*net[:3]), nn.Sequential(*net[3:5]))
    return nn.Sequential(blocks, *net[5:])


@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_shared_statistics_make_norms_see_the_whole_batch(tmp_path: Path, is_checkpointed: bool) -> None:
    settings = replace(SETTINGS, freeze=(freeze_phase("1it", ("3.*",)),), sync_batchnorm=True)
    alone = train(Processes(), tmp_path / "alone", net_of_blocks, settings)
    settings = replace(settings, grad_checkpointing=is_checkpointed)
    shared = functools.partial(train, folder=tmp_path / "shared", make=net_of_blocks, settings=settings)
    first, second = run_together(shared)
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert_equal_tensors(first["weights"], second["weights"])
    torch.testing.assert_close(first["weights"], alone["weights"], rtol=1e-3, atol=1e-5)
