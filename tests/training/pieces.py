"""What the tests of this room share: a small network, batches in memory, settings without surprises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.training import FitSettings, OptimizerSettings, ScheduleSettings

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

    def __len__(self) -> int:
        return len(self.batches)


@dataclass
class HookedBatches(Batches):
    """A loader that hands out ``change(step, batch)``, and nothing where that is None; steps count from 0."""

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


def constant_rate(epochs: int, lr: float = 0.1, opt: str = "sgd", **optimizer: Any) -> FitSettings:
    """Plain settings: no weight decay, no momentum, one learning rate."""
    values: dict[str, Any] = {"weight_decay": 0.0, "momentum": 0.0, **optimizer}
    # timm's momentum is SGD without Nesterov's form, which torch refuses without momentum.
    name = "momentum" if opt == "sgd" else opt
    return FitSettings(optimizer=OptimizerSettings(name, lr, **values), schedule=ScheduleSettings("constant", epochs))


def validation(*figures: Mapping[str, float]) -> Callable[[nn.Module], Mapping[str, float]]:
    """Return a validation that gives these figures, one epoch after another."""
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
