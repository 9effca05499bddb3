from __future__ import annotations

from dsft.assembly.settings import fit_settings
from dsft.choices import PixelLoss, TaskName
from dsft.recipe import load_recipe
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
from tests.workshop import Workshop


def test_every_key_arrives(workshop: Workshop) -> None:
    changes = [
        "optim={opt: lamb, lr: 0.5, weight_decay: 0.25, momentum: 0.75, clip_grad: 2.0, "
        "layer_decay: 0.875, lr_mult: {head: 10, conv1.*: 0.5}, depthwise_decay: false}",
        "schedule={sched: multistep, epochs: 9, warmup_epochs: 1.5, warmup_lr: 0.125, min_lr: 0.0625, "
        "decay_epochs: [3, 6], decay_rate: 0.5}",
        "freeze=[{until: 1ep, train: [head], gradual: true}, {until: 20it, train: [converted, conv1.*]}]",
        "distill={teacher: original, logits: 0.375, temperature: 4.0, features: 0.25}",
        "ema={decay: 0.625, warmup: false}",
        "evaluate={monitor: val/loss, patience: 3, min_delta: 0.1875}",
        "augment.smoothing=0.03125",
        "train={seed: 17, deterministic: true, grad_accum: 3, sync_batchnorm: true}",
        "output={save_every: 7it, keep_best: 2}",
    ]
    recipe = load_recipe(str(workshop.separable_recipe), changes)
    assert fit_settings(recipe, has_teacher=True, layers=["conv1"], class_weights=(1.0, 2.0)) == FitSettings(
        optimizer=OptimizerSettings("lamb", 0.5, 0.25, 0.75, 2.0, 0.875, (("head", 10.0), ("conv1.*", 0.5)), False),
        schedule=ScheduleSettings("multistep", 9, 1.5, 0.125, 0.0625, (3.0, 6.0), 0.5),
        freeze=(
            FreezePhase("1ep", ("head",), gradual=True),
            FreezePhase("20it", ("converted", "conv1.*"), gradual=False),
        ),
        distill=DistillSettings(0.375, 4.0, 0.25, ("conv1",)),
        ema=EmaSettings(0.625, warmup=False),
        stopping=StoppingSettings("val/loss", 3, 0.1875),
        task=task_named(TaskName.CLASSIFICATION),
        loss=LossOptions(0.03125, 0.0, PixelLoss.L2),
        class_weights=(1.0, 2.0),
        grad_accum=3,
        grad_checkpointing=False,
        compile=False,
        sync_batchnorm=True,
        save_every="7it",
        keep_best=2,
        seed=17,
        deterministic=True,
    )


def test_what_the_recipe_leaves_out_is_off(workshop: Workshop) -> None:
    settings = fit_settings(load_recipe(str(workshop.dense_recipe)), has_teacher=False)
    assert (settings.freeze, settings.distill, settings.ema) == ((), None, None)
    assert settings.schedule.decay_epochs is None


def test_one_drop_is_a_number(workshop: Workshop) -> None:
    changes = ["schedule.sched=step", "schedule.decay_epochs=1.5"]
    assert (
        fit_settings(load_recipe(str(workshop.dense_recipe), changes), has_teacher=False).schedule.decay_epochs == 1.5
    )


def test_without_a_teacher_nothing_is_distilled(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.separable_recipe), ["distill.logits=0"])
    assert fit_settings(recipe, has_teacher=False).distill is None
