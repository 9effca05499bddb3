from __future__ import annotations

import pytest
import torch

from dsft.runtimes import Parity, compare_outputs
from dsft.tasks import CLASSIFICATION as TASK

EXPECTED = torch.tensor([[1.0, 5.0, 2.0], [10.0, 9.0, 0.0]])


def compare(expected: torch.Tensor, found: torch.Tensor) -> Parity:
    agrees = TASK.scorer.agrees(expected, found)
    return compare_outputs(expected, found, agrees=agrees, margins=TASK.scorer.margin(expected.double()))


def test_equal_answers_agree() -> None:
    parity = compare(EXPECTED, EXPECTED.clone())
    assert (parity.images, parity.largest_difference, parity.agreement, parity.holds) == (2, 0.0, 1.0, True)


def test_a_difference_is_seen_relative_to_the_largest_logit() -> None:
    found = EXPECTED.clone()
    found[0, 2] += 0.05
    parity = compare(EXPECTED, found)
    assert parity.relative_difference == pytest.approx(0.005, rel=1e-4)
    assert not parity.holds


def test_another_class_counts_where_the_margin_is_clear() -> None:
    close, clear = torch.tensor([[1.0, 1.00001]]), torch.tensor([[1.0, 2.0]])
    assert compare(close, close.flip(1)).clear_disagreements == 0
    assert compare(close, close.flip(1)).agreement == 0
    swapped = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    found = torch.tensor([[1.0, 2.0], [0.2, 0.4]])
    assert compare(swapped, found).clear_disagreements == 1
    assert compare(clear, clear).clear_disagreements == 0


def test_what_is_no_number_never_holds() -> None:
    found = EXPECTED.clone()
    found[0, 0] = float("nan")
    assert not compare(EXPECTED, found).holds
