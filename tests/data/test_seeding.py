from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dsft.data.seeding import seeded, stable_seed


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: S311 - no secret


def test_the_seed_is_the_same_in_every_process_and_differs_with_every_part() -> None:
    assert stable_seed("order", 0, 1) == 8783113041400999520  # sha256sum, first 16 digits, halved
    seeds = {stable_seed("order", a, b) for a in range(-3, 30) for b in range(30)}
    assert len(seeds) == 33 * 30
    assert stable_seed(1, 23) != stable_seed(12, 3)


def test_all_three_generators_are_seeded_and_restored() -> None:
    with seeded(5):
        inside = draws()
    before = draws()
    with seeded(5):
        assert draws() == inside
    after = draws()
    assert inside not in (before, after)
    assert before != after


def test_states_are_restored_after_an_exception() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with pytest.raises(KeyError), seeded(9):
        raise KeyError
    assert torch.equal(torch.rand(2), expected)
