from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from dsft.choices import SplitName
from dsft.data.stratify import Fold, split_stratified
from dsft.errors import DataError

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST
BOTH = {VAL: 0.1, TEST: 0.2}


def labelled(sizes: Sequence[int]) -> tuple[list[int], list[str], list[str]]:
    targets = [target for target, size in enumerate(sizes) for _ in range(size)]
    return (
        targets,
        [f"{index:05d}.png" for index in range(len(targets))],
        [f"c{i}" for i in range(len(sizes))],
    )


def drawn_by_class(sizes: Sequence[int], fractions: Mapping[SplitName, float]) -> dict[SplitName, list[int]]:
    targets, keys, classes = labelled(sizes)
    drawn = split_stratified(targets, keys, classes, fractions, seed=0)
    counts = {name: Counter(targets[index] for index in indices) for name, indices in drawn.items()}
    return {name: [count[target] for target in range(len(sizes))] for name, count in counts.items()}


# Sizes whose remainders differ, so that which classes are rounded up does not depend on how ties are broken.
@pytest.mark.parametrize(
    ("sizes", "fraction"),
    [
        ([100, 50, 20], 0.1),
        ([173, 31, 58, 207], 0.2),
        ([1000] * 10, 0.1),
        ([37, 41, 53, 61, 73], 0.3),
        ([9, 14], 0.5),
    ],
)
def test_classes_get_the_counts_that_scikit_learn_gives_them(sizes: list[int], fraction: float) -> None:
    targets, _, _ = labelled(sizes)
    splitter: Any = StratifiedShuffleSplit(1, test_size=round(len(targets) * fraction), random_state=0)  # type: ignore[no-untyped-call]
    _, theirs = next(splitter.split(np.zeros(len(targets)), targets))
    expected = np.bincount(np.array(targets)[theirs], minlength=len(sizes)).tolist()
    assert drawn_by_class(sizes, {VAL: fraction})[VAL] == expected


@given(
    sizes=st.lists(st.integers(10, 120), min_size=2, max_size=8),
    val=st.floats(0.1, 0.4),
    test=st.floats(0.1, 0.4),
    seed=st.integers(-5, 5),
)
def test_every_image_is_in_one_split_and_every_class_keeps_its_share(
    sizes: list[int], val: float, test: float, seed: int
) -> None:
    targets, keys, classes = labelled(sizes)
    drawn = split_stratified(targets, keys, classes, {VAL: val, TEST: test}, seed)
    assert sorted(index for indices in drawn.values() for index in indices) == list(range(len(targets)))
    for name, fraction in ((VAL, val), (TEST, test)):
        counts = Counter(targets[index] for index in drawn[name])
        assert len(drawn[name]) == round(len(targets) * fraction)
        # The total is rounded by up to half an image, and each class's part of it by less than one.
        assert all(abs(counts[target] - size * fraction) < 1.5 for target, size in enumerate(sizes))


def test_small_classes_are_in_every_split_that_they_can_fill_and_always_in_train() -> None:
    counts = drawn_by_class([200, 3, 2, 1], BOTH)
    assert counts[TRAIN][1:] == [1, 1, 1]
    assert counts[VAL][1:] == [1, 0, 0]
    assert counts[TEST][1:] == [1, 1, 0]


def test_large_fractions_leave_an_image_to_train_on() -> None:
    assert drawn_by_class([4, 3, 2], {VAL: 0.5, TEST: 0.45})[TRAIN] == [1, 1, 1]


def test_the_order_of_listing_does_not_matter_and_the_seed_does() -> None:
    targets, keys, classes = labelled([40, 60])
    order = np.random.default_rng(0).permutation(100).tolist()
    listed = split_stratified(targets, keys, classes, BOTH, seed=7)
    shuffled = split_stratified([targets[i] for i in order], [keys[i] for i in order], classes, BOTH, seed=7)
    for name in (TRAIN, VAL, TEST):
        assert {keys[index] for index in listed[name]} == {keys[order[index]] for index in shuffled[name]}
        assert listed[name] == tuple(sorted(listed[name]))
    assert split_stratified(targets, keys, classes, BOTH, seed=8) != listed


def test_a_new_image_moves_at_most_a_few_others() -> None:
    targets, keys, classes = labelled([50, 50])
    before = split_stratified(targets, keys, classes, BOTH, seed=0)
    after = split_stratified([*targets, 1], [*keys, "new.png"], classes, BOTH, seed=0)
    moved = [set(before[name]) ^ (set(after[name]) - {100}) for name in before]
    assert len(set().union(*moved)) <= 4


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(DataError, match="2 examples of 2 classes are too few for a val split"):
        drawn_by_class([1, 1], {VAL: 0.5})


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(2, 5), st.booleans())
def test_folds_are_disjoint_stratified_and_cover_all_images_outside_of_test(
    sizes: list[int], folds: int, has_test: bool
) -> None:
    targets, keys, classes = labelled(sizes)
    tests = {TEST: 0.2} if has_test and sum(sizes) >= 20 else {}
    parts = []
    for index in range(folds):
        try:
            parts.append(split_stratified(targets, keys, classes, {**tests, VAL: Fold(index, folds)}, seed=1))
        except DataError:
            return
    assert len({part.get(TEST, ()) for part in parts}) == 1
    held = [index for part in parts for index in part[VAL]]
    assert len(held) == len(set(held))
    left = set(range(len(targets))) - set(parts[0].get(TEST, ()))
    # A class of one image stays in train.
    counts = Counter(targets[index] for index in left)
    assert set(held) == {index for index in left if counts[targets[index]] > 1}
    for part in parts:
        assert set(part[TRAIN]) == left - set(part[VAL])
        for target, count in counts.items():
            share = sum(targets[index] == target for index in part[VAL])
            assert count == 1 or count // folds <= share <= -(-count // folds)
    lengths = [len(part[VAL]) for part in parts]
    assert max(lengths) - min(lengths) <= len(classes)


def test_small_classes_spread_over_the_folds() -> None:
    targets, keys, classes = labelled([3] * 10)
    lengths = [len(split_stratified(targets, keys, classes, {VAL: Fold(index, 5)}, seed=0)[VAL]) for index in range(5)]
    assert lengths == [6] * 5
