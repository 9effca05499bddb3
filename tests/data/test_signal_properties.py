"""What holds for every signal and volume: samples and their classes move together, and nothing else changes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare  # type: ignore[import-untyped]

from dsft.choices import NO_CLASS
from dsft.data.seeding import seeded
from dsft.data.signal_masks import SignalMaskTransform, resample_classes, restore_classes
from dsft.data.signal_transforms import Extent, SignalAugmentation, SignalTransform, fit_length
from dsft.data.sound import Signal
from dsft.preprocessing import SignalPreprocessing

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=3)
EXAMPLES = settings(max_examples=60, deadline=None)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Return size, length of the input, and shift along each of up to three axes."""
    size = draw(SIZES)
    axes = len(size)
    lengths, shifts = (st.lists(each, min_size=axes, max_size=axes) for each in (st.integers(1, 7), st.integers(-9, 9)))
    return size, draw(lengths), draw(shifts)


def numbered(size: list[int]) -> NDArray[np.float32]:
    """Return samples that are all different and above 0."""
    return np.arange(1, 1 + int(np.prod(size)), dtype=np.float32).reshape(1, *size)


@given(geometries())
@EXAMPLES
def test_every_sample_moves_by_the_same_distance(geometry: tuple[list[int], list[int], list[int]]) -> None:
    size, length, shifts = geometry
    values = numbered(size)
    fitted = fit_length(values, length, shifts)
    offsets = [int((wanted - own) / 2) + shift for own, wanted, shift in zip(size, length, shifts, strict=True)]
    expected = np.zeros((1, *length), np.float32)
    for place in np.ndindex(*size):
        moved = tuple(at + offset for at, offset in zip(place, offsets, strict=True))
        if all(0 <= at < wanted for at, wanted in zip(moved, length, strict=True)):
            expected[(0, *moved)] = values[(0, *place)]
    np.testing.assert_array_equal(fitted, expected)


@given(geometries(), st.integers(0, 1000), st.sampled_from(Extent), st.floats(0, 1), st.just(0.0) | st.floats(0, 1))
@example(([2, 1], [2, 1], [0, 0]), 0, Extent.CENTRE, 1.0, 0.0)
@EXAMPLES
def test_the_class_of_a_sample_moves_with_it(
    geometry: tuple[list[int], list[int], list[int]], seed: int, extent: Extent, flips: float, shift: float
) -> None:
    size, length, _ = geometry
    values = numbered(size)
    mask = (values[0] % 5).astype(np.uint8)
    expected = SignalPreprocessing(tuple(length), 1, (0.0,), (1.0,))
    with seeded(seed):
        augmentation = SignalAugmentation(hflip=flips, shift=shift)
        moved, classes = SignalMaskTransform(expected, augmentation, extent)(Signal(values), mask, "own")
    inside = moved[0] > 0
    torch.testing.assert_close(classes[inside], (moved[0][inside] % 5).long())
    assert (classes[~inside] == NO_CLASS).all()
    wanted = [max(own, side) if extent is Extent.WHOLE else side for own, side in zip(size, length, strict=True)]
    assert list(classes.shape) == wanted
    # Nothing is padded along an axis that is long enough, and nothing of a whole signal is lost.
    assert shift or int(inside.sum()) == np.prod([min(own, side) for own, side in zip(size, wanted, strict=True)])


def test_patches_start_everywhere_equally_often() -> None:
    expected = SignalPreprocessing((3,), 1, (0.0,), (1.0,))
    transform = SignalMaskTransform(expected, extent=Extent.PATCH)
    values = np.arange(8, dtype=np.float32)[None]
    starts = []
    for seed in range(300):
        with seeded(seed):
            patch, _ = transform(Signal(values), np.zeros(8, np.uint8), "own")
        assert patch[0].tolist() == [patch[0, 0] + step for step in range(3)]
        starts.append(int(patch[0, 0]))
    counts = np.bincount(starts, minlength=6)
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 0.01


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 12)), min_size=1, max_size=3))
@EXAMPLES
def test_a_resampled_voxel_has_the_class_of_the_nearest_one(axes: list[tuple[int, int]]) -> None:
    size, new = (tuple(column) for column in zip(*axes, strict=True))
    classes = np.arange(int(np.prod(size))).astype(np.uint8).reshape(size)
    found = resample_classes(classes, new)
    assert found.shape == new
    for place in np.ndindex(*new):
        # Of the centres of voxels, as multiples of a common fraction of the extent.
        nearest = [
            # Of two that are equally near, the later one.
            max(range(own), key=lambda n: (-abs((2 * n + 1) * wanted - (2 * at + 1) * own), n))
            for at, own, wanted in zip(place, size, new, strict=True)
        ]
        assert found[place] == classes[tuple(nearest)]


@given(geometries(), st.integers(1, 3))
@EXAMPLES
def test_restored_classes_are_those_of_the_input_or_none(
    geometry: tuple[list[int], list[int], list[int]], factor: int
) -> None:
    size, length, _ = geometry
    resampled = [side * factor for side in size]
    mask = (numbered(size)[0] % 5).astype(np.uint8)
    placement = SignalTransform(SignalPreprocessing(tuple(length), 1, (0.0,), (1.0,))).placement(resampled)
    placed = placement.place(resample_classes(mask, resampled)[None], NO_CLASS)[0]
    found = restore_classes(placed, resampled, size)
    assert found.shape == tuple(size)
    is_seen = found != NO_CLASS
    np.testing.assert_array_equal(found[is_seen], mask[is_seen])
    if all(side >= own for own, side in zip(resampled, length, strict=True)):
        assert is_seen.all()


@given(geometries(), st.integers(0, 1000))
@EXAMPLES
def test_a_time_mask_sets_neighbours_along_the_last_axis_to_the_mean(
    geometry: tuple[list[int], list[int], list[int]], seed: int
) -> None:
    size, length, _ = geometry
    expected = SignalPreprocessing(tuple(length), 1, (-3.0,), (2.0,))
    plain = SignalTransform(expected)(Signal(numbered(size)))
    with seeded(seed):
        masked = SignalTransform(expected, SignalAugmentation(time_mask=0.6))(Signal(numbered(size)))
    # No sample is the mean before, so that what is the mean now was masked.
    hidden = (masked == 0).flatten(0, -2).all(0)
    torch.testing.assert_close(masked[..., ~hidden], plain[..., ~hidden])
    places = hidden.nonzero().flatten().tolist()
    assert places == list(range(places[0], places[0] + len(places))) if places else True
    assert len(places) <= 0.6 * length[-1] + 0.5
