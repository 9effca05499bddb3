"""What holds for every signal and volume: samples and their classes move together, and nothing else changes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsft.data.seeding import seeded
from dsft.data.signal_masks import NO_CLASS, SignalMaskTransform
from dsft.data.signal_transforms import SignalAugmentation, SignalTransform, fit_length
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


@given(geometries(), st.integers(0, 1000), st.floats(0, 1))
@EXAMPLES
def test_the_class_of_a_sample_moves_with_it(
    geometry: tuple[list[int], list[int], list[int]], seed: int, shift: float
) -> None:
    size, length, _ = geometry
    values = numbered(size)
    mask = (values[0] % 5).astype(np.uint8)
    expected = SignalPreprocessing(tuple(length), 1, (0.0,), (1.0,))
    with seeded(seed):
        moved, classes = SignalMaskTransform(expected, SignalAugmentation(shift=shift))(Signal(values), mask, "own")
    inside = moved[0] > 0
    torch.testing.assert_close(classes[inside], (moved[0][inside] % 5).long())
    assert (classes[~inside] == NO_CLASS).all()


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
