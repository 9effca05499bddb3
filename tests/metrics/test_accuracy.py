from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from timm.utils.metrics import accuracy

from dsft.metrics import topk_accuracy


@pytest.mark.parametrize("k", [1, 2, 5])
def test_it_agrees_with_scikit_learn_and_timm(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    logits = torch.randn(200, 8, generator=generator)
    targets = torch.randint(8, (200,), generator=generator)
    (of_timm,) = accuracy(logits, targets, (k,))  # type: ignore[no-untyped-call]
    expected = top_k_accuracy_score(targets.numpy(), logits.numpy(), k=k, labels=np.arange(8))
    assert topk_accuracy(logits, targets, k) == pytest.approx(100 * expected)
    assert topk_accuracy(logits, targets, k) == pytest.approx(float(of_timm))


@pytest.mark.parametrize("k", [4, 5, 100])
def test_with_as_many_guesses_as_classes_all_are_right(k: int) -> None:
    assert topk_accuracy(torch.randn(9, 4), torch.arange(9) % 4, k) == 100.0


def test_equal_logits_rank_by_class_number_as_argmax_does() -> None:
    logits, targets = torch.zeros(10, 10), torch.arange(10)
    assert topk_accuracy(logits, targets, 1) == 10.0 == 100 * (logits.argmax(1) == targets).double().mean()
    assert topk_accuracy(logits, targets, 3) == pytest.approx(30.0)
    assert topk_accuracy(logits, torch.full((10,), 2), 3) == 100.0
    assert topk_accuracy(logits, torch.full((10,), 3), 3) == 0.0
