"""The learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch.optim import Optimizer

from dsft.training.settings import ScheduleSettings


def make_schedule(optimizer: Optimizer, settings: ScheduleSettings, steps_per_epoch: int) -> Callable[[int], None]:
    """Return a function that sets the optimizer's learning rate for a step.

    The rate depends on the number of the step only, so a resumed run continues with the same rates.

    Args:
        optimizer: The learning rates of its groups are those after the warm-up.
        settings: The schedule, in epochs.
        steps_per_epoch: Optimizer steps in an epoch.

    Returns:
        A function of the step, counted from 0, to call before the step.
    """
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=settings.sched,
        num_epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,  # type: ignore[arg-type] # fractions of an epoch work as well
        warmup_lr=settings.warmup_lr,
        min_lr=settings.min_lr,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
        **_decay(settings),
    )

    def set_rate(step: int) -> None:
        scheduler.step_update(step)

    return set_rate


def _decay(settings: ScheduleSettings) -> dict[str, Any]:
    if settings.sched == "poly":
        # timm uses decay_rate as the power of the polynomial; 1 is a straight line.
        return {"decay_rate": 1.0}
    if isinstance(settings.decay_epochs, tuple):
        return {"decay_milestones": sorted(settings.decay_epochs), "decay_rate": settings.decay_rate}
    return {"decay_epochs": settings.decay_epochs, "decay_rate": settings.decay_rate}
