from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsft.choices import SplitName
from dsft.data.iterative_stratification import stratify_iteratively
from dsft.data.stratify import Fold, split_stratified

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST
RATES = (0.02, 0.05, 0.1, 0.3, 0.6)


def labelled(count: int, seed: int = 0) -> tuple[list[tuple[int, ...]], list[str], list[str]]:
    there = np.random.default_rng(seed).random((count, len(RATES))) < RATES
    targets = [tuple(int(number) for number in np.flatnonzero(row)) for row in there]
    return targets, [f"{index:05d}.png" for index in range(count)], list("abcde")


def misses(targets: Sequence[tuple[int, ...]], parts: Sequence[Sequence[int]], shares: Sequence[float]) -> list[float]:
    """Return by how many images each part has too many or too few of each label."""
    totals = Counter(number for target in targets for number in target)
    counts = [Counter(number for index in part for number in targets[index]) for part in parts]
    pairs = list(zip(counts, shares, strict=True))
    return [abs(count[number] - share * total) for number, total in totals.items() for count, share in pairs]


def test_every_label_is_divided_as_the_images_are() -> None:
    targets, keys, classes = labelled(2000)
    drawn = split_stratified(targets, keys, classes, {VAL: 0.1, TEST: 0.2}, seed=0)
    parts = [drawn[name] for name in (TRAIN, VAL, TEST)]
    assert [len(part) for part in parts] == pytest.approx([1400, 200, 400], abs=2)
    found = misses(targets, parts, [0.7, 0.1, 0.2])
    assert max(found) <= 2
    order = np.random.default_rng(1).permutation(2000).tolist()
    random = misses(targets, [order[:1400], order[1400:1600], order[1600:]], [0.7, 0.1, 0.2])
    assert sum(found) < sum(random) / 5


def test_folds_are_disjoint_and_cover_all_images_outside_of_test() -> None:
    targets, keys, classes = labelled(300)
    draws = [split_stratified(targets, keys, classes, {VAL: Fold(index, 4), TEST: 0.2}, seed=3) for index in range(4)]
    assert len({one[TEST] for one in draws}) == 1
    folds = [set(one[VAL]) for one in draws]
    assert sum(map(len, folds)) == len(set.union(*folds)) == 300 - len(draws[0][TEST])
    assert all(set(one[TRAIN]) == set.union(*folds) - set(one[VAL]) for one in draws)
    assert max(map(len, folds)) - min(map(len, folds)) <= 3


def test_the_rarest_label_is_dealt_first_by_hand() -> None:
    # b has one image, which a has too; the part of 0.75 wants it most, then a's four go where a is lacking.
    targets = [(0, 1), (0,), (0,), (0,), (), (), (), ()]
    assert stratify_iteratively(range(8), targets, 2, [0.75, 0.25]) == [[0, 1, 2, 4, 5, 6], [3, 7]]


@given(st.integers(10, 60), st.integers(0, 5), st.floats(0.1, 0.4), st.floats(0.1, 0.4))
@example(10, 0, 0.1, 0.1)
def test_every_image_is_in_one_part(count: int, seed: int, val: float, test: float) -> None:
    targets, keys, classes = labelled(count, seed)
    parts = split_stratified(targets, keys, classes, {VAL: val, TEST: test}, seed)
    assert sorted(index for part in parts.values() for index in part) == list(range(count))
    assert split_stratified(targets, keys, classes, {VAL: val, TEST: test}, seed) == parts


def test_the_order_in_which_images_are_listed_does_not_matter() -> None:
    targets, keys, classes = labelled(200)
    drawn = split_stratified(targets, keys, classes, {VAL: 0.2, TEST: 0.2}, seed=1)
    order = list(reversed(range(200)))
    turned = split_stratified(
        [targets[i] for i in order], [keys[i] for i in order], classes, {VAL: 0.2, TEST: 0.2}, seed=1
    )
    assert {keys[i] for i in drawn[VAL]} == {keys[order[i]] for i in turned[VAL]}
