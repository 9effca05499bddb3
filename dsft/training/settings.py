"""What a training run is told: frozen values, checked for sense by the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dsft.tasks import CLASSIFICATION, Task

Sched = Literal["cosine", "step", "multistep", "poly", "tanh", "constant"]


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are updated.

    Attributes:
        opt: timm's name of the optimizer, such as ``sgd`` or ``adamw``.
        lr: Learning rate after the warm-up.
        weight_decay: Weight decay; norms and biases have none.
        momentum: Momentum, where the optimizer has one.
        clip_grad: Largest norm of the gradient of all parameters together, or None.
        layer_decay: Factor of the learning rate from a layer to the one before it; None is alike everywhere.
        lr_mult: Patterns of parameter names with a factor of the learning rate; the first that matches counts.
        depthwise_decay: Depthwise kernels have weight decay as well.
    """

    opt: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    clip_grad: float | None = None
    layer_decay: float | None = None
    lr_mult: tuple[tuple[str, float], ...] = ()
    depthwise_decay: bool = True


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate goes, in epochs; it is updated at every step.

    Attributes:
        sched: timm's name of the schedule; ``poly`` falls in a straight line.
        epochs: Passes over the training split.
        warmup_epochs: Epochs of linear rise from ``warmup_lr``; they count among ``epochs``.
        warmup_lr: Learning rate of the first step of a warm-up.
        min_lr: Learning rate that ``cosine``, ``tanh`` and ``poly`` fall to.
        decay_epochs: Epochs between two drops (``step``), or the epochs of the drops (``multistep``).
        decay_rate: Factor of a drop (``step``, ``multistep``).
    """

    sched: Sched = "cosine"
    epochs: int = 10
    warmup_epochs: float = 0.0
    warmup_lr: float = 1e-6
    min_lr: float = 0.0
    decay_epochs: float | tuple[float, ...] | None = None
    decay_rate: float = 0.1


@dataclass(frozen=True)
class FreezePhase:
    """Until a point in time, only some parameters are trained.

    Attributes:
        until: End of the phase from the start of training: ``1ep`` (epochs) or ``200it`` (steps).
        train: ``head``, ``converted``, or patterns of parameter names such as ``layer4.*``.
        gradual: From its beginning to its end the other layers join in one by one, those next to the output first.
    """

    until: str
    train: tuple[str, ...]
    gradual: bool = False


@dataclass(frozen=True)
class DistillSettings:
    """How much is learned from a teacher.

    Attributes:
        logits: Weight of the teacher's logits in the loss, 0 to 1; the labels have the rest.
        temperature: Softens both sets of logits.
        features: Weight of the distance from the teacher's feature maps, which is added to that.
        layers: Names of the layers whose outputs are compared; both networks have them.
    """

    logits: float = 0.5
    temperature: float = 2.0
    features: float = 0.0
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmaSettings:
    """The moving average of the weights.

    Attributes:
        decay: Weight of the past at each step, 0 to 1.
        warmup: Begin with a smaller decay, so that a short run is not held at its start.
    """

    decay: float = 0.999
    warmup: bool = True


@dataclass(frozen=True)
class StoppingSettings:
    """What chooses the best weights and ends a run early.

    Attributes:
        monitor: Name of the validation figure; one that ends in ``loss`` is better when smaller.
        patience: Stop after this many epochs without a better figure; None runs to the end.
        min_delta: How much better counts as better for ``patience``.
    """

    monitor: str = "val/top1"
    patience: int | None = None
    min_delta: float = 0.0


@dataclass(frozen=True)
class FitSettings:
    """Everything that :func:`dsft.training.fit` is told beside the model and the data.

    Attributes:
        optimizer: How weights are updated.
        schedule: How long, and how the learning rate goes.
        freeze: Phases in order of their end; afterwards everything trains.
        distill: How much is learned from the teacher; None without one.
        ema: The moving average of the weights, or None.
        stopping: What chooses the best weights and ends a run early.
        task: What the logits and the labels mean.
        smoothing: Label smoothing, 0 to 1.
        class_weights: Weight of each class in the loss against the labels; None for 1.
        grad_accum: Batches that are summed up in a step.
        grad_checkpointing: Compute activations again in the backward pass instead of keeping them.
        compile: Train a compiled form of the network.
        save_every: When the state is saved: ``10min``, ``200it`` (steps) or ``1ep`` (epochs).
        keep_best: Best epochs whose weights the final ones are the mean of; 1 takes the best epoch's as they are.
        seed: Seed of what is random in the network, such as dropout.
        deterministic: Refuse operations that give another result each time.
    """

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    freeze: tuple[FreezePhase, ...] = ()
    distill: DistillSettings | None = None
    ema: EmaSettings | None = None
    stopping: StoppingSettings = field(default_factory=StoppingSettings)
    task: Task = CLASSIFICATION
    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    grad_accum: int = 1
    grad_checkpointing: bool = False
    compile: bool = False
    save_every: str = "10min"
    keep_best: int = 1
    seed: int = 0
    deterministic: bool = False
