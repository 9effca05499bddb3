from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.tasks import CLASSIFICATION, LossOptions
from dsft.training.objective import label_loss

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
    loss = label_loss(outputs, targets, LossOptions(0.1), None, CLASSIFICATION)
    assert loss.item() == pytest.approx(main + 0.3 * second + 0.3 * first)
