"""Shared by the tests of training: a small network, batches in memory, and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dsft.assembly.settings import fit_settings
from dsft.choices import Sched
from dsft.devices import Compute
from dsft.recipe import Recipe
from dsft.training import (
    DistillSettings,
    EmaSettings,
    FitSettings,
    FreezePhase,
    OptimizerSettings,
    ScheduleSettings,
    StoppingSettings,
)

CPU = Compute(torch.device("cpu"))


@dataclass(frozen=True)
class Batch:
    images: Tensor
    targets: Tensor
    number: int = 0


@dataclass
class Batches:
    """A loader whose every epoch has the same batches."""

    batches: Sequence[Batch]

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        del number
        return (replace(batch, number=at) for at, batch in enumerate(self.batches) if at >= start)

    def images_in(self, number: int) -> int | None:
        return len(self.batches[number].images)

    def __len__(self) -> int:
        return len(self.batches)


@dataclass
class HookedBatches(Batches):
    """A loader that yields ``change(step, batch)``, and nothing if that is None; steps count from 0."""

    change: Callable[[int, Batch], Batch | None]

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for batch in super().epoch(number, start):
            changed = self.change(number * len(self) + batch.number, batch)
            if changed is not None:
                yield replace(changed, number=batch.number)


def make_batches(count: int = 4, size: int = 6, *, seed: int = 0, classes: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(size, 2, 5, 5, generator=generator),
            torch.randint(classes, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def make_net(*, seed: int = 0, dropout: float = 0.0, classes: int = 3) -> nn.Sequential:
    """Two convolutions with a norm each, pooled to class scores."""
    with torch.random.fork_rng([], device_type="cuda"):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4, classes),
        )


# The defaults are those of recipes.
DEFAULTS = fit_settings(
    Recipe.model_validate(
        {
            "version": 1,
            "name": "defaults",
            "model": {"source": "timm", "name": "resnet18"},
            "data": {"source": "digits", "val": {"fraction": 0.1}, "test": {"fraction": 0.1}},
            "distill": {},
            "ema": {},
        },
        strict=False,
    ),
    has_teacher=True,
)
PLAIN = replace(DEFAULTS, distill=None, ema=None)


def optimizer_settings(opt: str = DEFAULTS.optimizer.opt, lr: float = 1e-3, **changes: Any) -> OptimizerSettings:
    return replace(DEFAULTS.optimizer, opt=opt, lr=lr, **changes)


def schedule_settings(sched: Sched = "cosine", epochs: int = 10, **changes: Any) -> ScheduleSettings:
    return replace(DEFAULTS.schedule, sched=sched, epochs=epochs, **changes)


def distill_settings(logits: float = 0.5, temperature: float = 2.0, **changes: Any) -> DistillSettings:
    assert DEFAULTS.distill is not None
    return replace(DEFAULTS.distill, logits=logits, temperature=temperature, **changes)


def ema_settings(decay: float = 0.999, warmup: bool = True) -> EmaSettings:
    return EmaSettings(decay, warmup)


def stopping_settings(monitor: str = "val/top1", **changes: Any) -> StoppingSettings:
    return replace(DEFAULTS.stopping, monitor=monitor, **changes)


def freeze_phase(until: str, train: tuple[str, ...], *, gradual: bool = False) -> FreezePhase:
    return FreezePhase(until, train, gradual)


def constant_rate(epochs: int, lr: float = 0.1, opt: str = "sgd", **optimizer: Any) -> FitSettings:
    """Plain settings: no weight decay, no momentum, one learning rate."""
    values: dict[str, Any] = {"weight_decay": 0.0, "momentum": 0.0, **optimizer}
    # timm's momentum is SGD without Nesterov's form, which torch refuses without momentum.
    name = "momentum" if opt == "sgd" else opt
    return replace(
        PLAIN,
        optimizer=optimizer_settings(name, lr, **values),
        schedule=schedule_settings("constant", epochs),
    )


def validation(*figures: Mapping[str, float]) -> Callable[[nn.Module], Mapping[str, float]]:
    """Return a validation that returns these metrics, one epoch after another."""
    left = iter(figures)

    def validate(module: nn.Module) -> Mapping[str, float]:
        del module
        return next(left)

    return validate


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def assert_equal_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == []
