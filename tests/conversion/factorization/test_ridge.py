from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from dsft.conversion.factorization import LinearFit, ridge_regression
from dsft.errors import ConversionError


def fit(features: torch.Tensor, targets: torch.Tensor, prior: torch.Tensor, **options: float) -> LinearFit:
    return ridge_regression(features, prior, **options)(targets)


def draw(samples: int = 400, features: int = 6, outputs: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(samples, features, generator=generator) + 2
    return seen, seen @ torch.randn(features, outputs, generator=generator) + torch.randn(samples, outputs) / 5 + 1


def test_without_a_pull_it_is_numpys_least_squares() -> None:
    seen, targets = draw()
    columns = np.concatenate([seen.numpy(), np.ones((len(seen), 1))], 1)
    expected, *_ = np.linalg.lstsq(columns, targets.numpy(), rcond=None)
    found = fit(seen, targets, torch.zeros(3, 6), ridge=0.0)
    np.testing.assert_allclose(found.weights.numpy(), expected[:-1].T, atol=1e-4)
    np.testing.assert_allclose(found.bias.numpy(), expected[-1], atol=1e-4)
    np.testing.assert_allclose(found.predict(seen).numpy(), columns @ expected, atol=1e-3)


def test_the_pull_is_that_of_a_ridge_regression_on_what_the_prior_leaves() -> None:
    seen, targets = draw()
    prior = torch.randn(3, 6)
    strength = 0.3
    spread = float((seen - seen.mean(0)).square().mean())
    ridge: Any = Ridge
    oracle = ridge(alpha=strength * spread * len(seen)).fit(seen.numpy(), (targets - seen @ prior.T).numpy())
    found = fit(seen, targets, prior, ridge=strength)
    np.testing.assert_allclose(found.weights.numpy(), prior.numpy() + oracle.coef_, atol=1e-4)
    np.testing.assert_allclose(found.bias.numpy(), oracle.intercept_, atol=1e-4)


def test_features_that_were_never_seen_keep_their_weights() -> None:
    seen, targets = draw()
    seen[:, 2] = 7.0
    prior = torch.randn(3, 6)
    found = fit(seen, targets, prior)
    torch.testing.assert_close(found.weights[:, 2].float(), prior[:, 2])
    assert torch.equal(fit(torch.ones(5, 6), torch.randn(5, 3), prior).weights, prior.double())
    one = fit(torch.randn(1, 6), torch.randn(1, 3), prior)
    assert torch.equal(one.weights, prior.double())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error(value: float) -> None:
    seen, targets = draw()
    seen[3, 1] = value
    with pytest.raises(ConversionError, match="input holds NaN or infinite values"):
        fit(seen, targets, torch.zeros(3, 6))
    seen, targets = draw()
    targets[3, 1] = value
    with pytest.raises(ConversionError, match="output holds NaN or infinite values"):
        fit(seen, targets, torch.zeros(3, 6))
