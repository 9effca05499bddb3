"""The recipe's training sections become the settings of the loop."""

from __future__ import annotations

from dsft.recipe import Recipe
from dsft.recipe.sections import OptimSection, ScheduleSection
from dsft.training import (
    DistillSettings,
    EmaSettings,
    FitSettings,
    FreezePhase,
    OptimizerSettings,
    ScheduleSettings,
    StoppingSettings,
)


def fit_settings(recipe: Recipe, *, has_teacher: bool) -> FitSettings:
    """Translate a recipe; ``has_teacher`` says whether there is anything to distil from."""
    evaluate, distill = recipe.evaluate, recipe.distill
    return FitSettings(
        optimizer=_optimizer(recipe.optim),
        schedule=_schedule(recipe.schedule),
        freeze=tuple(FreezePhase(phase.until, tuple(phase.train)) for phase in recipe.freeze),
        distill=DistillSettings(distill.logits, distill.temperature) if distill and has_teacher else None,
        ema=EmaSettings(recipe.ema.decay, recipe.ema.warmup) if recipe.ema else None,
        stopping=StoppingSettings(evaluate.monitor, evaluate.patience, evaluate.min_delta),
        smoothing=recipe.augment.smoothing,
        seed=recipe.train.seed,
        deterministic=recipe.train.deterministic,
    )


def _optimizer(section: OptimSection) -> OptimizerSettings:
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
