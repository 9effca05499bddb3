from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.errors import ModelError
from dsft.training.objective import blend_teacher, label_loss
from dsft.training.settings import DistillSettings

Outputs = namedtuple("Outputs", ["logits", "aux_logits2", "aux_logits1"])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> float:
    labels = np.eye(logits.shape[1])[targets.numpy()]
    labels = (1 - smoothing) * labels + smoothing / logits.shape[1]
    return float(-(labels * np.log(softmax(logits.double().numpy()))).sum(axis=1).mean())


def test_auxiliary_heads_weigh_three_tenths_each() -> None:
    targets = torch.tensor([0, 2, 1, 2])
    outputs = Outputs(draw(4, 3, seed=1), draw(4, 3, seed=2), draw(4, 3, seed=3))
    main, second, first = (cross_entropy(logits, targets, 0.1) for logits in outputs)
    assert label_loss(outputs, targets, 0.1).item() == pytest.approx(main + 0.3 * second + 0.3 * first)


def test_the_teachers_share_is_the_softened_kl_divergence() -> None:
    student, teacher = draw(4, 3, seed=1), draw(4, 3, seed=2)
    old = softmax(teacher.double().numpy() / 2.5)
    new = softmax(student.double().numpy() / 2.5)
    divergence = 2.5**2 * (old * (np.log(old) - np.log(new))).sum(axis=1).mean()
    loss = blend_teacher(torch.tensor(1.5), student, teacher, DistillSettings(logits=0.3, temperature=2.5))
    assert loss.item() == pytest.approx(0.7 * 1.5 + 0.3 * divergence)


def test_only_main_logits_are_distilled() -> None:
    student, teacher = draw(4, 3, seed=1), draw(4, 3, seed=2)
    settings = DistillSettings(logits=1.0)
    plain = blend_teacher(torch.tensor(0.0), student, teacher, settings)
    many = blend_teacher(torch.tensor(0.0), Outputs(student, teacher, teacher), teacher, settings)
    assert torch.equal(plain, many)


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"distill\.teacher: must know the task's 3 classes, found 7 outputs"):
        blend_teacher(torch.tensor(0.0), draw(4, 3), draw(4, 7), DistillSettings())
