from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]

from dsft.metrics import difference_interval, disagreements, mcnemar_p, top1_interval


def _answers(seed: int, count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two networks' answers: right four times in five, and mostly about the same images."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(count, generator=generator) < 0.8
    second = first ^ (torch.rand(count, generator=generator) < 0.1)
    return first, second


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_top1_is_that_of_resampled_images(seed: int) -> None:
    right = _answers(seed)[0].numpy().astype(float)
    reference = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=20_000, random_state=seed)
    found = top1_interval(torch.from_numpy(right) > 0)
    step = 100 / len(right)  # the mean takes such steps
    assert found == pytest.approx([100 * end for end in reference.confidence_interval], abs=1.01 * step)
    # A resampled share has a binomial distribution, whose quantiles are known.
    exact = 100 * stats.binom.ppf([0.025, 0.975], len(right), right.mean()) / len(right)
    assert found == pytest.approx(exact, abs=1.01 * step)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_a_difference_resamples_pairs(seed: int) -> None:
    first, second = _answers(seed)
    pairs = second.numpy().astype(float) - first.numpy().astype(float)
    reference = stats.bootstrap((pairs,), np.mean, method="percentile", n_resamples=20_000, random_state=seed)
    found = difference_interval(first, second)
    assert found == pytest.approx([100 * end for end in reference.confidence_interval], abs=1.01 * 100 / 300)
    # Unpaired draws would make it three times as wide.
    assert found[1] - found[0] < 10


def test_intervals_are_the_same_each_time_and_turn_with_the_order() -> None:
    first, second = _answers(0)
    assert difference_interval(first, second) == difference_interval(first, second)
    low, high = difference_interval(second, first)
    assert difference_interval(first, second) == pytest.approx((-high, -low), abs=0.4)


def test_without_mistakes_the_interval_is_a_point() -> None:
    assert top1_interval(torch.ones(50, dtype=torch.bool)) == (100.0, 100.0)
    assert top1_interval(torch.zeros(1, dtype=torch.bool)) == (0.0, 0.0)
    assert difference_interval(torch.ones(5) > 0, torch.ones(5) > 0) == (0.0, 0.0)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (0, 6), (5, 5), (3, 12), (400, 500)])
def test_mcnemar_is_the_two_sided_binomial_test(only_first: int, only_second: int) -> None:
    first = torch.tensor([True] * only_first + [False] * only_second + [True, False] * 10)
    second = torch.tensor([False] * only_first + [True] * only_second + [True, False] * 10)
    assert disagreements(first, second) == (only_first, only_second)
    total = only_first + only_second
    expected = stats.binomtest(only_first, total).pvalue if total else 1.0
    assert mcnemar_p(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_is_exact_for_very_many_images() -> None:
    first = torch.arange(40_000) < 20_500
    assert mcnemar_p(first, ~first) == pytest.approx(stats.binomtest(20_500, 40_000).pvalue, rel=1e-9)
