from __future__ import annotations

import numpy as np
import pytest
import torch

from dsft.losses import feature_loss


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_follows_the_formula() -> None:
    student = [draw(2, 3, 4, 4, seed=0), 100 * draw(2, 5, 2, 2, seed=1)]
    teacher = [draw(2, 3, 4, 4, seed=2), 100 * draw(2, 5, 2, 2, seed=3)]
    errors = [
        np.square((own - other).double().numpy()).sum() / np.square(other.double().numpy()).sum()
        for ours, theirs in zip(student, teacher, strict=True)
        for own, other in zip(ours, theirs, strict=True)
    ]
    assert feature_loss(student, teacher).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_equal_maps_cost_nothing_and_zeros_cost_one() -> None:
    maps = [draw(2, 3, 4, seed=0)]
    assert feature_loss(maps, maps).item() == 0
    assert feature_loss([torch.zeros(2, 3, 4)], maps).item() == pytest.approx(1)


def test_a_dead_layer_of_the_teacher_gives_no_nan() -> None:
    dead, alive = torch.zeros(2, 3, 4), draw(2, 3, 4, seed=0).requires_grad_()
    assert feature_loss([dead], [dead]).item() == 0
    loss = feature_loss([alive], [torch.stack([dead[0], torch.ones(3, 4)])])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(((alive[1] - 1).square().sum() / 12 / 2).item())
    assert alive.grad is not None
    assert alive.grad.isfinite().all()


def test_a_batch_costs_what_its_parts_do() -> None:
    student, teacher = draw(6, 3, 4, seed=0), draw(6, 3, 4, seed=1) * torch.arange(1, 7)[:, None, None]
    parts = [feature_loss([student[part]], [teacher[part]]) for part in (slice(0, 2), slice(2, 6))]
    assert feature_loss([student], [teacher]).item() == pytest.approx(((2 * parts[0] + 4 * parts[1]) / 6).item())


def test_no_gradient_flows_into_the_teacher() -> None:
    student, teacher = draw(2, 3, 4, seed=0).requires_grad_(), draw(2, 3, 4, seed=1).requires_grad_()
    ours, theirs = torch.autograd.grad(feature_loss([student], [teacher]), (student, teacher), allow_unused=True)
    assert ours.abs().sum() > 0
    assert theirs is None


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = (300 * draw(8, 64, 8, 8, seed=seed) for seed in (0, 1))
    loss = feature_loss([student.half()], [teacher.half()])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(feature_loss([student], [teacher]).item(), rel=1e-2)
