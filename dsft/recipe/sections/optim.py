"""``optim``, ``schedule``, ``freeze`` and ``ema``: how the weights move."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import Sched
from dsft.recipe.sections.base import Fraction, Section, Share


class OptimSection(Section):
    """The optimizer."""

    opt: str = "adamw"
    """Any optimizer of timm, such as `sgd`, `adamw`, `lamb`."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate after warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Weight decay; norms and biases have none."""
    momentum: Share = 0.9
    """Momentum, where the optimizer has one."""
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient."""
    layer_decay: Fraction | None = None
    """Factor of the learning rate from a layer to the one before it, such as 0.75; left out, alike everywhere."""
    lr_mult: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Factors of the learning rate by pattern of parameter names, such as `{head: 10, "layer4.*": 0.1}`; of several
    that match, the first counts. `head` and `converted` are words."""
    depthwise_decay: bool = True
    """Whether depthwise kernels have weight decay, as other kernels have."""


class ScheduleSection(Section):
    """The learning rate over time, updated at every step."""

    sched: Sched = "cosine"
    """timm's schedule."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training split."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the rate rises from `warmup_lr`; they count among `epochs`."""
    warmup_lr: Annotated[float, Field(ge=0)] = 1e-6
    """Learning rate at the first step of the warm-up."""
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end."""
    decay_epochs: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] | None = None
    """Epochs between two drops (`step`), or a list of the epochs of the drops (`multistep`)."""
    decay_rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of a drop (`step`, `multistep`)."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: must be under schedule.epochs ({self.epochs})")
        wanted = {"step": float, "multistep": list}.get(self.sched, type(None))
        if not isinstance(self.decay_epochs, wanted):
            rule = {"step": "needs one number", "multistep": "needs a list"}.get(self.sched, "has no drops")
            raise ValueError(f"decay_epochs: sched {self.sched} {rule}")
        return self


class FreezePhase(Section):
    """Until a point in time only some parameters are trained; afterwards the next phase, or all."""

    until: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(ep|it)$", examples=["1ep", "200it"])]
    """End of the phase: `1ep` (epochs) or `200it` (steps), counted from the start."""
    train: Annotated[list[str], Field(min_length=1)]
    """What is trained meanwhile: `head`, `converted`, or patterns of parameter names such as `layer4.*`."""
    gradual: bool = False
    """Let the other layers join in one by one until the end of the phase, those next to the output first."""


class EmaSection(Section):
    """Keep an exponential moving average of the weights; it is what is scored and saved."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Weight of the past at each step."""
    warmup: bool = True
    """Begin with a smaller decay, so that a short run is not held at its start."""
