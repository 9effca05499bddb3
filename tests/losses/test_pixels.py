from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dsft.losses import dice_loss, pixel_cross_entropy, pixel_distillation_loss, sampled_pixel_cross_entropy

NO_CLASS = 255


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator)
    targets = torch.randint(0, 3, (3, 5, 6), generator=generator)
    targets[0, :2], targets[2] = NO_CLASS, NO_CLASS
    return logits, targets


def test_cross_entropy_is_the_mean_over_the_pixels_with_a_class(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0])
    found = pixel_cross_entropy(logits, targets, no_class=NO_CLASS)
    weighted = pixel_cross_entropy(logits, targets, no_class=NO_CLASS, weights=weights)
    logs = logits.log_softmax(1)
    for image in range(3):
        places = (targets[image] != NO_CLASS).nonzero().tolist()
        own = [-logs[image, targets[image, row, column], row, column].item() for row, column in places]
        factors = [weights[targets[image, row, column]].item() for row, column in places]
        assert found[image].item() == pytest.approx(np.mean(own) if own else 0.0, rel=1e-5)
        assert weighted[image].item() == pytest.approx(np.mean(np.multiply(own, factors)) if own else 0.0, rel=1e-5)


def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_parts(batch: tuple[Tensor, Tensor]) -> None:
    for loss in (pixel_cross_entropy, dice_loss):
        parts = [loss(logits[None], targets[None], no_class=NO_CLASS) for logits, targets in zip(*batch, strict=True)]
        torch.testing.assert_close(torch.cat(parts), loss(*batch, no_class=NO_CLASS))


def test_dice_is_its_formula_over_the_classes_in_the_mask(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = (each[0] for each in batch)
    chances, known = logits.softmax(0).numpy(), (targets != NO_CLASS).numpy()
    terms = []
    for number in range(3):
        truth = (targets == number).numpy()
        common, total = (chances[number] * truth * known).sum(), (chances[number] * known).sum() + truth.sum()
        terms.append(1 - (2 * common + 1) / (total + 1))
    found = dice_loss(batch[0], batch[1], no_class=NO_CLASS)
    assert found[0].item() == pytest.approx(np.mean(terms), rel=1e-5)
    assert found[2].item() == 0
    perfect = functional.one_hot(torch.zeros(1, 4, 4, dtype=torch.int64), 3).movedim(-1, 1) * 100.0
    assert dice_loss(perfect, torch.zeros(1, 4, 4, dtype=torch.int64), no_class=NO_CLASS).item() == pytest.approx(0)


def test_distillation_is_the_divergence_of_each_pixel(batch: tuple[Tensor, Tensor]) -> None:
    student, teacher = batch[0], batch[0].flip(0)
    p, q = (teacher.double() / 2).softmax(1), (student.double() / 2).softmax(1)
    expected = 4 * (p * (p.log() - q.log())).sum(1).mean()
    assert pixel_distillation_loss(student, teacher, 2.0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert pixel_distillation_loss(student, student, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_sampled_classes_give_the_fisher_information_of_each_pixel() -> None:
    logits = torch.tensor([1.0, -0.5, 0.3]).reshape(1, 3, 1, 1).repeat(1, 1, 2, 2).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    moments = torch.zeros(3, 3)
    for _ in range(3000):
        (gradient,) = torch.autograd.grad(sampled_pixel_cross_entropy(logits, generator) * 4, logits)
        rows = gradient.movedim(1, -1).reshape(4, 3)
        moments += rows.T @ rows / 4
    chances = logits[0, :, 0, 0].detach().softmax(0)
    expected = torch.diag(chances) - torch.outer(chances, chances)
    torch.testing.assert_close(moments / 3000, expected, atol=0.02, rtol=0)
