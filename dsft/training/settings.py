"""Hyperparameters of a training run, as frozen values.

They have no defaults: those are defined once, in the sections of a recipe (:mod:`dsft.recipe.sections`), which also
validates them. :func:`dsft.assembly.settings.fit_settings` translates one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsft.choices import Sched
from dsft.tasks import LossOptions, Task


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are updated.

    Attributes:
        opt: timm's name of the optimizer, such as ``sgd`` or ``adamw``.
        lr: Learning rate after the warm-up.
        weight_decay: Weight decay; norms and biases have none.
        momentum: Momentum, if the optimizer has one.
        clip_grad: Maximum norm of the gradient of all parameters together, or None.
        layer_decay: Factor of the learning rate from a layer to the one before it; None uses one rate for all.
        lr_mult: Patterns of parameter names, each with a factor of the learning rate; the first match applies.
        depthwise_decay: Apply weight decay to depthwise kernels too.
    """

    opt: str
    lr: float
    weight_decay: float
    momentum: float
    clip_grad: float | None
    layer_decay: float | None
    lr_mult: tuple[tuple[str, float], ...]
    depthwise_decay: bool


@dataclass(frozen=True)
class ScheduleSettings:
    """The learning rate over time, in epochs; it is updated at every step.

    Attributes:
        sched: timm's name of the schedule; ``poly`` is a straight line.
        epochs: Passes over the training split.
        warmup_epochs: Epochs of linear increase from ``warmup_lr``; they count among ``epochs``.
        warmup_lr: Learning rate of the first step of a warm-up.
        min_lr: Final learning rate of ``cosine``, ``tanh`` and ``poly``.
        decay_epochs: Epochs between two drops (``step``), or the epochs of the drops (``multistep``).
        decay_rate: Factor of a drop (``step``, ``multistep``).
    """

    sched: Sched
    epochs: int
    warmup_epochs: float
    warmup_lr: float
    min_lr: float
    decay_epochs: float | tuple[float, ...] | None
    decay_rate: float


@dataclass(frozen=True)
class FreezePhase:
    """A phase at the start of training in which only some parameters are trained.

    Attributes:
        until: End of the phase, counted from the start of training: ``1ep`` (epochs) or ``200it`` (steps).
        train: ``head``, ``converted``, or patterns of parameter names such as ``layer4.*``.
        gradual: Unfreeze the other layers one by one during the phase, those nearest to the output first.
    """

    until: str
    train: tuple[str, ...]
    gradual: bool


@dataclass(frozen=True)
class DistillSettings:
    """Knowledge distillation from a teacher.

    Attributes:
        logits: Weight of the teacher's logits in the loss, 0 to 1; the labels have the rest.
        temperature: Temperature of both softmax distributions.
        features: Weight of the distance between feature maps, which is added to the loss.
        layers: Names of the layers whose outputs are compared; both networks have them.
    """

    logits: float
    temperature: float
    features: float
    layers: tuple[str, ...]


@dataclass(frozen=True)
class EmaSettings:
    """Exponential moving average (EMA) of the weights.

    Attributes:
        decay: Decay per step, 0 to 1.
        warmup: Begin with a smaller decay, so that the average of a short run is not dominated by its start.
    """

    decay: float
    warmup: bool


@dataclass(frozen=True)
class StoppingSettings:
    """Selection of the best epoch, and early stopping.

    Attributes:
        monitor: Name of the validation metric; one that ends in ``loss`` is minimized, any other maximized.
        patience: Stop after this many epochs without an improvement; None trains to the end.
        min_delta: Smallest change that counts as an improvement for ``patience``.
    """

    monitor: str
    patience: int | None
    min_delta: float


@dataclass(frozen=True)
class FitSettings:
    """All hyperparameters of :func:`dsft.training.fit`.

    Attributes:
        optimizer: How weights are updated.
        schedule: Number of epochs, and the learning rate over time.
        freeze: Phases in order of their end; afterwards everything is trained.
        distill: Distillation; None without a teacher.
        ema: Moving average of the weights, or None.
        stopping: Selection of the best epoch, and early stopping.
        task: What the outputs and the targets mean.
        loss: Options of the loss against the targets.
        class_weights: Weight of each class in the loss against the labels; None weighs all alike.
        grad_accum: Batches whose gradients are accumulated in a step.
        grad_checkpointing: Recompute activations in the backward pass instead of storing them.
        compile: Train a network compiled with ``torch.compile``.
        sync_batchnorm: Compute BatchNorm statistics over the batch of all processes.
        save_every: How often a checkpoint is saved: ``10min``, ``200it`` (steps) or ``1ep`` (epochs).
        keep_best: Number of best epochs whose weights are averaged at the end; 1 takes the best epoch's unchanged.
        seed: Seed of the random operations of the network, such as dropout.
        deterministic: Use deterministic operations only; one without a deterministic form is an error.
    """

    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    freeze: tuple[FreezePhase, ...]
    distill: DistillSettings | None
    ema: EmaSettings | None
    stopping: StoppingSettings
    task: Task
    loss: LossOptions
    class_weights: tuple[float, ...] | None
    grad_accum: int
    grad_checkpointing: bool
    compile: bool
    sync_batchnorm: bool
    save_every: str
    keep_best: int
    seed: int
    deterministic: bool
