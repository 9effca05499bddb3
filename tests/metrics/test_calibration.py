from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from dsft.metrics import expected_calibration_error, negative_log_likelihood


def _example(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return answers right two times in five, however sure: the unsure are too modest, the sure too bold."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(400, 6, generator=generator) * 2
    anything = torch.randint(6, (400,), generator=generator)
    return logits, torch.where(torch.rand(400, generator=generator) < 0.3, logits.argmax(dim=1), anything)


def test_the_likelihood_agrees_with_scikit_learn() -> None:
    logits, targets = _example(0)
    expected = log_loss(targets.numpy(), logits.double().softmax(dim=1).numpy(), labels=np.arange(6))
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected, rel=1e-12)


def test_a_sure_and_wrong_answer_stays_finite() -> None:
    assert negative_log_likelihood(torch.tensor([[1e4, 0.0]]), torch.tensor([1])) == pytest.approx(1e4)


@pytest.mark.parametrize("bins", [1, 3, 10, 15])
def test_the_calibration_error_follows_the_paper_bin_by_bin(bins: int) -> None:
    logits, targets = _example(bins)
    probability = logits.double().softmax(dim=1).numpy()
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == targets.numpy()
    expected = 0.0
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(logits, targets, bins) == pytest.approx(expected, rel=1e-12)


def test_the_sure_are_calibrated_only_where_they_are_right() -> None:
    logits = torch.eye(4) * 1e3
    assert expected_calibration_error(logits, torch.arange(4)) == 0.0
    assert expected_calibration_error(logits, (torch.arange(4) + 1) % 4) == 1.0
