from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dsft.losses import binary_cross_entropy, soft_cross_entropy


def _expected(logits: torch.Tensor, soft: NDArray[np.float64], smoothing: float) -> float:
    scores = logits.double().numpy()
    log_probability = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    smoothed = (1 - smoothing) * soft + smoothing / soft.shape[1]
    return float(-(smoothed * log_probability).sum(axis=1).mean())


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_hard_labels_follow_the_formula(logits: torch.Tensor, smoothing: float) -> None:
    targets = torch.tensor([0, 3, 1, 1, 2, 0])
    loss = soft_cross_entropy(logits, targets, smoothing=smoothing)
    assert loss.item() == pytest.approx(_expected(logits, np.eye(4)[targets.numpy()], smoothing), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_labels_follow_the_formula(logits: torch.Tensor, smoothing: float) -> None:
    soft = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    loss = soft_cross_entropy(logits, soft, smoothing=smoothing)
    assert loss.item() == pytest.approx(_expected(logits, soft.double().numpy(), smoothing), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(logits: torch.Tensor, dtype: torch.dtype) -> None:
    targets = torch.tensor([0, 3, 1, 1, 2, 0])
    loss = soft_cross_entropy(logits.to(dtype), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, soft_cross_entropy(logits.to(dtype).float(), targets))


def test_float64_stays_float64_and_has_a_right_gradient(logits: torch.Tensor) -> None:
    double = logits.double().requires_grad_()
    soft = torch.rand(6, 4).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, soft, smoothing=0.1), (double,))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_are_equal_for_hard_and_soft_labels(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 3, 3, 3])
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    shares = (1 - smoothing) * torch.eye(4)[targets] + smoothing / 4
    expected = -(shares * weights * logits.log_softmax(dim=1)).sum(dim=1).mean()
    for labels in (targets, torch.eye(4)[targets]):
        loss = soft_cross_entropy(logits, labels, smoothing=smoothing, weights=weights)
        torch.testing.assert_close(loss, expected)
    halves = [
        soft_cross_entropy(logits[part], targets[part], smoothing=smoothing, weights=weights)
        for part in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighs", [False, True])
def test_decisions_follow_the_formula(logits: torch.Tensor, smoothing: float, weighs: bool) -> None:
    targets = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0]) if weighs else None
    loss = binary_cross_entropy(logits, targets, smoothing=smoothing, weights=weights)
    share = ((1 - smoothing) * targets + smoothing / 2).double().numpy()
    chance = 1 / (1 + np.exp(-logits.double().numpy()))
    weight = 1.0 if weights is None else weights.double().numpy()
    expected = -(weight * share * np.log(chance) + (1 - share) * np.log(1 - chance)).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert binary_cross_entropy(logits.half(), targets).dtype == torch.float32
