"""Translate the training sections of a recipe into the settings of the training loop."""

from __future__ import annotations

from collections.abc import Sequence

from dsft.recipe import Recipe
from dsft.recipe.sections import DistillSection, OptimSection, ScheduleSection
from dsft.tasks import LossOptions, task_named
from dsft.training import (
    DistillSettings,
    EmaSettings,
    FitSettings,
    FreezePhase,
    OptimizerSettings,
    ScheduleSettings,
    StoppingSettings,
)


def fit_settings(
    recipe: Recipe,
    *,
    has_teacher: bool,
    layers: Sequence[str] = (),
    class_weights: tuple[float, ...] | None = None,
) -> FitSettings:
    """Translate a recipe.

    Args:
        recipe: The recipe.
        has_teacher: Whether there is a network to distill from.
        layers: Names of the converted layers, whose outputs can be compared with the teacher's.
        class_weights: Weight of each class in the loss.
    """
    evaluate, distill = recipe.evaluate, recipe.distill
    return FitSettings(
        optimizer=optimizer_settings(recipe.optim),
        schedule=_schedule(recipe.schedule),
        freeze=tuple(FreezePhase(phase.until, tuple(phase.train), phase.gradual) for phase in recipe.freeze),
        distill=_distillation(distill, layers) if distill and has_teacher else None,
        ema=EmaSettings(recipe.ema.decay, recipe.ema.warmup) if recipe.ema else None,
        stopping=StoppingSettings(evaluate.monitor, evaluate.patience, evaluate.min_delta),
        task=task_named(recipe.task),
        loss=LossOptions(recipe.augment.smoothing, recipe.loss.dice, recipe.loss.pixel),
        class_weights=class_weights,
        grad_accum=recipe.train.grad_accum,
        grad_checkpointing=recipe.train.grad_checkpointing,
        compile=recipe.train.compile,
        sync_batchnorm=recipe.train.sync_batchnorm,
        save_every=recipe.output.save_every,
        keep_best=recipe.output.keep_best,
        seed=recipe.train.seed,
        deterministic=recipe.train.deterministic,
    )


def optimizer_settings(section: OptimSection) -> OptimizerSettings:
    """Translate the section ``optim``."""
    return OptimizerSettings(
        opt=section.opt,
        lr=section.lr,
        weight_decay=section.weight_decay,
        momentum=section.momentum,
        clip_grad=section.clip_grad,
        layer_decay=section.layer_decay,
        lr_mult=tuple(section.lr_mult.items()),
        depthwise_decay=section.depthwise_decay,
    )


def _distillation(section: DistillSection, layers: Sequence[str]) -> DistillSettings:
    compared = tuple(layers) if section.features > 0 else ()
    return DistillSettings(section.logits, section.temperature, section.features, compared)


def _schedule(section: ScheduleSection) -> ScheduleSettings:
    drops = section.decay_epochs
    return ScheduleSettings(
        sched=section.sched,
        epochs=section.epochs,
        warmup_epochs=section.warmup_epochs,
        warmup_lr=section.warmup_lr,
        min_lr=section.min_lr,
        decay_epochs=tuple(drops) if isinstance(drops, list) else drops,
        decay_rate=section.decay_rate,
    )
