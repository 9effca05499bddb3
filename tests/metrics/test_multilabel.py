from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from sklearn.metrics import log_loss

from dsft.metrics import TEMPERATURES, fit_binary_temperature, multilabel_reliability

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(200, 4, generator=GENERATOR)
TARGETS = (torch.rand(200, 4, generator=GENERATOR) < (LOGITS / 2.5).sigmoid()).float()


def test_the_temperature_is_the_one_with_the_least_loss() -> None:
    def loss(temperature: float) -> float:
        chances = (LOGITS.double() / temperature).sigmoid().flatten().numpy()
        return float(log_loss(TARGETS.flatten().numpy(), chances))

    found = fit_binary_temperature(LOGITS, TARGETS)
    assert found == pytest.approx(minimize_scalar(loss, bounds=(0.5, 8), method="bounded").x, rel=1e-3)
    assert 2 < found < 3.2


def test_where_every_decision_is_right_the_bound_is_taken() -> None:
    assert fit_binary_temperature(LOGITS, (LOGITS > 0).float()) == pytest.approx(TEMPERATURES[0])


def test_the_calibration_error_follows_its_formula() -> None:
    chances, truth = LOGITS.double().sigmoid().flatten().numpy(), TARGETS.flatten().numpy()
    bins = np.clip(np.ceil(chances * 15).astype(int), 1, 15)
    gaps = [abs(chances[bins == one].sum() - truth[bins == one].sum()) for one in range(1, 16)]
    assert multilabel_reliability(LOGITS, TARGETS).error == pytest.approx(sum(gaps) / len(truth), abs=1e-12)
