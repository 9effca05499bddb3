from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch import nn

from dsft.training.optim.schedule import make_schedule
from dsft.training.settings import ScheduleSettings
from tests.training.pieces import schedule_settings

STEPS_PER_EPOCH = 5


def rates(settings: ScheduleSettings, lr: float = 0.4) -> list[float]:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr)
    set_rate = make_schedule(optimizer, settings, STEPS_PER_EPOCH)
    found = []
    for step in range(settings.epochs * STEPS_PER_EPOCH):
        set_rate(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def timm_rates(epochs: int, **options: Any) -> list[float]:
    """Follow timm's own train.py: the rate of the next step is set after each update."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.4)
    scheduler, _ = create_scheduler_v2(
        optimizer, num_epochs=epochs, step_on_epochs=False, updates_per_epoch=STEPS_PER_EPOCH, **options
    )
    found = []
    for step in range(epochs * STEPS_PER_EPOCH):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.step_update(step + 1)
    return found


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (
            schedule_settings("cosine", 6, warmup_epochs=1.5, warmup_lr=0.01, min_lr=0.02),
            {"sched": "cosine", "warmup_epochs": 1.5, "warmup_lr": 0.01, "min_lr": 0.02},
        ),
        (
            schedule_settings("step", 6, decay_epochs=1.5, decay_rate=0.3),
            {"sched": "step", "decay_epochs": 1.5, "decay_rate": 0.3},
        ),
        (
            schedule_settings("multistep", 6, decay_epochs=(4, 2), decay_rate=0.3),
            {"sched": "multistep", "decay_milestones": [2, 4], "decay_rate": 0.3},
        ),
        (
            schedule_settings("tanh", 4, warmup_epochs=1, min_lr=0.02),
            {"sched": "tanh", "warmup_epochs": 1, "warmup_lr": 1e-6, "min_lr": 0.02},
        ),
        (
            schedule_settings("constant", 3, warmup_epochs=1),
            {"sched": "constant", "warmup_epochs": 1, "warmup_lr": 1e-6},
        ),
    ],
    ids=lambda value: value.sched if isinstance(value, ScheduleSettings) else "",
)
def test_rates_are_those_of_timms_training_script(settings: ScheduleSettings, options: dict[str, Any]) -> None:
    assert rates(settings) == pytest.approx(timm_rates(settings.epochs, **options), rel=1e-12)


def test_cosine_follows_its_formula() -> None:
    total = 3 * STEPS_PER_EPOCH
    formula = [0.1 + 0.3 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    assert rates(schedule_settings("cosine", 3, min_lr=0.1)) == pytest.approx(formula)


def test_poly_falls_in_a_straight_line() -> None:
    total = 2 * STEPS_PER_EPOCH
    line = [0.1 + 0.3 * (1 - step / total) for step in range(total)]
    assert rates(schedule_settings("poly", 2, min_lr=0.1, decay_rate=0.5)) == pytest.approx(line)


def test_the_learning_rate_depends_on_the_step_alone() -> None:
    settings = schedule_settings("cosine", 4, warmup_epochs=1)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.4)
    set_rate = make_schedule(optimizer, settings, STEPS_PER_EPOCH)
    set_rate(13)
    assert optimizer.param_groups[0]["lr"] == rates(settings)[13]
