from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from sklearn.metrics import brier_score_loss, log_loss

from dsft.metrics import (
    TEMPERATURES,
    brier_score,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


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
    assert reliability(logits, targets, bins).error == pytest.approx(expected, rel=1e-12)


def test_the_sure_are_calibrated_only_where_they_are_right() -> None:
    logits = torch.eye(4) * 1e3
    assert reliability(logits, torch.arange(4)).error == 0.0
    assert reliability(logits, (torch.arange(4) + 1) % 4).error == 1.0


def test_the_brier_score_agrees_with_scikit_learn_and_with_one_hot_vectors() -> None:
    logits, targets = _example(1)
    probability = logits.double().softmax(dim=1).numpy()
    one_hot = np.eye(6)[targets.numpy()]
    assert brier_score(logits, targets) == pytest.approx(((probability - one_hot) ** 2).sum(axis=1).mean(), rel=1e-12)
    two, binary = logits[:, :2], (targets == 1).long()
    expected = brier_score_loss(binary.numpy(), two.double().softmax(dim=1)[:, 1].numpy())
    assert brier_score(two, binary) == pytest.approx(2 * expected, rel=1e-9)


def test_the_bins_hold_what_the_paper_puts_into_them() -> None:
    # Two classes: a confidence is at least one half. 0.8 is the closed end of the interval (0.6, 0.8].
    logits = torch.tensor([[0.55, 0.45], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]], dtype=torch.float64).log()
    found = reliability(logits, torch.tensor([1, 0, 1, 1]), bins=5)
    assert found.counts == (0, 0, 1, 1, 2)
    assert found.confidence == pytest.approx((0, 0, 0.55, 0.8, 0.925))
    assert found.accuracy == (0.0, 0.0, 0.0, 1.0, 0.5)
    assert found.error == pytest.approx((0.55 + 0.2 + 2 * 0.425) / 4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_of_the_least_likelihood(temperature: float) -> None:
    logits, targets = _example(3)
    found = fit_temperature(logits * temperature, targets)

    def likelihood(value: float) -> float:
        return negative_log_likelihood(logits.double() * temperature / value, targets)

    expected = minimize_scalar(likelihood, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    assert found == pytest.approx(expected, rel=1e-5)
    assert likelihood(found) <= min(likelihood(1.0), likelihood(found * 1.01), likelihood(found / 1.01))


def test_a_temperature_that_has_no_best_stays_within_bounds() -> None:
    logits, targets = torch.eye(4), torch.arange(4)
    assert fit_temperature(logits, targets) == pytest.approx(TEMPERATURES[0])
    assert fit_temperature(-logits, targets) == pytest.approx(TEMPERATURES[1])
