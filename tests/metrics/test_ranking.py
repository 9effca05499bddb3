from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from dsft.metrics import average_precision, map_difference_interval, map_interval, mean_average_precision
from dsft.metrics.ranking import _rankings


def draw(images: int, classes: int, seed: int, *, has_ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(images, classes, generator=generator)
    targets = (torch.rand(images, classes, generator=generator) < 0.3).float()
    targets[0] = 1
    return (scores * 2).round() if has_ties else scores + targets, targets


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize(("images", "classes"), [(2, 1), (7, 3), (150, 6)])
def test_it_is_scikit_learns(images: int, classes: int, has_ties: bool) -> None:
    for seed in range(5):
        scores, targets = draw(images, classes, seed, has_ties=has_ties)
        expected = [average_precision_score(targets[:, at], scores[:, at]) for at in range(classes)]
        assert average_precision(scores, targets).tolist() == pytest.approx(expected, abs=1e-12)
        assert mean_average_precision(scores, targets) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("has_ties", [False, True])
def test_images_that_are_drawn_several_times_count_so_often(has_ties: bool) -> None:
    scores, targets = draw(30, 4, 0, has_ties=has_ties)
    times = np.random.default_rng(0).integers(0, 4, (6, 30)).astype(float)
    for at, ranking in enumerate(_rankings(scores, targets)):
        expected = [average_precision_score(targets[:, at], scores[:, at], sample_weight=one) for one in times]
        assert ranking(times).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_class_that_a_resample_lacks_has_no_value() -> None:
    scores, targets = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0], [0.0]])
    [ranking] = _rankings(scores, targets)
    assert np.isnan(ranking(np.array([[0.0, 2.0]]))).all()
    assert np.isnan(average_precision(scores, torch.zeros(2, 1)).numpy()).all()
    assert mean_average_precision(scores, torch.zeros(2, 1)) == 0


def test_the_interval_is_that_of_resamples_made_one_by_one() -> None:
    scores, targets = draw(80, 3, 1)
    low, high = map_interval(scores, targets)
    random = np.random.default_rng(5)
    means = []
    for _ in range(400):
        rows = random.integers(80, size=80)
        means.append(np.mean([average_precision_score(targets[rows, at], scores[rows, at]) for at in range(3)]))
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)


def test_a_difference_is_paired() -> None:
    scores, targets = draw(200, 3, 2)
    assert map_difference_interval((scores, targets), (scores * 3 - 1, targets)) == (0.0, 0.0)
    other = scores + 0.1 * torch.randn(scores.shape, generator=torch.Generator().manual_seed(3))
    low, high = map_difference_interval((scores, targets), (other, targets))
    alone = [map_interval(each, targets) for each in (scores, other)]
    assert high - low < 0.5 * min(end[1] - end[0] for end in alone)
    # Another order of the classes is the same network.
    order = [2, 0, 1]
    turned = map_difference_interval((scores, targets), (other[:, order], targets[:, order]))
    assert turned == pytest.approx((low, high), abs=1e-12)
