from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dsft.errors import ModelError
from dsft.tasks import CLASSIFICATION
from dsft.training.distillation.losses import add_feature_loss, blend_logits_loss
from tests.training.pieces import distill_settings

Outputs = namedtuple("Outputs", ["logits", "aux_logits2", "aux_logits1"])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blend(labels: float, output: object, teacher: Tensor, logits: float, temperature: float = 2.0) -> Tensor:
    settings = distill_settings(logits, temperature)
    return blend_logits_loss(torch.tensor(labels), output, teacher, settings, CLASSIFICATION)


def test_the_teachers_share_is_the_softened_kl_divergence() -> None:
    student, teacher = draw(4, 3, seed=1), draw(4, 3, seed=2)
    old, new = functional.softmax(teacher / 2.5, 1), functional.softmax(student / 2.5, 1)
    divergence = 2.5**2 * (old * (old.log() - new.log())).sum(1).mean().item()
    assert blend(1.5, student, teacher, 0.3, 2.5).item() == pytest.approx(0.7 * 1.5 + 0.3 * divergence)


def test_only_main_logits_are_distilled() -> None:
    student, teacher = draw(4, 3, seed=1), draw(4, 3, seed=2)
    several = Outputs(student, teacher, teacher)
    assert torch.equal(blend(0.0, student, teacher, 1.0), blend(0.0, several, teacher, 1.0))


def test_a_teacher_without_weight_need_not_know_the_classes() -> None:
    assert blend(1.5, draw(4, 3), draw(4, 7), 0.0).item() == 1.5


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"distill\.teacher: must know the task's 3 classes, found 7 outputs"):
        blend(0.0, draw(4, 3), draw(4, 7), 0.5)


def test_features_of_other_shapes_are_refused() -> None:
    settings = distill_settings(features=1.0)
    with pytest.raises(ModelError, match=r"found \[\(4, 3\)\] and \[\(4, 7\)\]\. Use the network before"):
        add_feature_loss(torch.tensor(0.0), [draw(4, 3)], [draw(4, 7)], settings)
