"""``optim``, ``schedule``, ``freeze`` and ``ema``: how the weights are updated."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import Sched
from dsft.recipe.sections.base import Fraction, Section, Share


class OptimSection(Section):
    """The optimizer."""

    opt: str = "adamw"
    """Any first-order optimizer of timm, such as `sgd`, `adamw`, `lamb`."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate after warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Weight decay; norms and biases have none."""
    momentum: Share = 0.9
    """Momentum, if the optimizer has one."""
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Maximum norm of the gradient of all parameters together."""
    layer_decay: Fraction | None = None
    """Factor of the learning rate from a layer to the one before it, such as 0.75; by default all layers have the same
    rate."""
    lr_mult: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Factors of the learning rate by pattern of parameter names, such as `{head: 10, "layer4.*": 0.1}`; the first
    match applies. `head` stands for the classifier, `converted` for the converted layers."""
    depthwise_decay: bool = True
    """Apply weight decay to depthwise kernels too."""


class ScheduleSection(Section):
    """The learning rate over time, updated at every step."""

    sched: Sched = "cosine"
    """timm's schedule."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training split."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs of linear increase from `warmup_lr`; they count among `epochs`."""
    warmup_lr: Annotated[float, Field(ge=0)] = 1e-6
    """Learning rate of the first step of the warm-up."""
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    """Final learning rate of `cosine`, `tanh` and `poly`."""
    decay_epochs: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] | None = None
    """Epochs between two drops (`step`), or a list of the epochs of the drops (`multistep`)."""
    decay_rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of a drop (`step`, `multistep`)."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: must be under schedule.epochs ({self.epochs}), such as schedule.warmup_epochs=0"
            )
        wanted = {"step": float, "multistep": list}.get(self.sched, type(None))
        if not isinstance(self.decay_epochs, wanted):
            rule = {"step": "needs one number", "multistep": "needs a list"}.get(self.sched, "has no drops")
            raise ValueError(f"decay_epochs: sched {self.sched} {rule}")
        return self


class FreezePhase(Section):
    """A phase in which only some parameters are trained; the next phase follows, and finally all are trained."""

    until: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(ep|it)$", examples=["1ep", "200it"])]
    """End of the phase: `1ep` (epochs) or `200it` (steps), counted from the start of training."""
    train: Annotated[list[str], Field(min_length=1)]
    """What is trained in this phase: `head`, `converted`, or patterns of parameter names such as `layer4.*`."""
    gradual: bool = False
    """Unfreeze the other layers one by one during the phase, those nearest to the output first."""


class EmaSection(Section):
    """Exponential moving average of the weights; it is what is evaluated and saved."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Decay per step."""
    warmup: bool = True
    """Begin with a smaller decay, so that the average of a short run is not dominated by its start."""
