from __future__ import annotations

import numpy as np
import pytest
import torch

from dsft.losses import binary_distillation_loss, distillation_loss


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 7, generator=generator) * 4, torch.randn(5, 7, generator=generator) * 4


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_follows_the_formula(logits: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    def softened(scores: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        powers = np.exp(scores.double().numpy() / temperature)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    student, teacher = (softened(scores) for scores in logits)
    divergence = (teacher * np.log(teacher / student)).sum(axis=1).mean()
    loss = distillation_loss(*logits, temperature)
    assert loss.item() == pytest.approx(temperature**2 * divergence, rel=1e-5)


def test_a_student_equal_to_its_teacher_loses_nothing(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert distillation_loss(logits[0], logits[0], 2.0).item() == pytest.approx(0, abs=1e-6)


def test_at_high_temperature_the_gradient_is_that_of_matching_logits(
    logits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    # Hinton et al. 2015, equation 4: it tends to (student - teacher) / classes for logits of mean 0.
    student, teacher = (scores.double() - scores.double().mean(dim=1, keepdim=True) for scores in logits)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(distillation_loss(student, teacher, 1e4), student)
    expected = (student.detach() - teacher) / 7 / len(student)
    torch.testing.assert_close(gradient, expected, rtol=1e-2, atol=1e-5)


def test_no_gradient_flows_into_the_teacher(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    student, teacher = (scores.requires_grad_() for scores in logits)
    loss = distillation_loss(student, teacher, 2.0)
    of_student, of_teacher = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert of_student.abs().sum() > 0
    assert of_teacher is None


def test_half_precision_is_computed_in_float32(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    halves = [scores.bfloat16() for scores in logits]
    loss = distillation_loss(halves[0], halves[1], 2.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, distillation_loss(halves[0].float(), halves[1].float(), 2.0))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_decisions_are_softened_one_by_one(temperature: float) -> None:
    student, teacher = (torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    ours, theirs = (1 / (1 + np.exp(-logits.double().numpy() / temperature)) for logits in (student, teacher))
    divergence = theirs * np.log(theirs / ours) + (1 - theirs) * np.log((1 - theirs) / (1 - ours))
    loss = binary_distillation_loss(student, teacher, temperature)
    assert loss.item() == pytest.approx(temperature**2 * divergence.mean(), rel=1e-5)
    assert binary_distillation_loss(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-7)
    far = binary_distillation_loss(torch.full((1, 1), 200.0), torch.full((1, 1), -200.0), 1.0)
    assert far.item() == pytest.approx(200, rel=1e-5)
