from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dsft.data import Windows
from tests.data.test_joint_transforms import GREY

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(deadline=None, max_examples=30)
@given(size=SIZES, sides=SIDES, overlap=st.floats(0, 0.9), batch=st.integers(1, 5))
def test_a_network_of_single_pixels_computes_in_windows_what_it_does_on_the_whole_image(
    size: tuple[int, int], sides: tuple[int, int], overlap: float, batch: int
) -> None:
    network = nn.Conv2d(2, 3, 1)
    images = torch.rand(2, 2, *size)
    with torch.no_grad():
        found = Windows(sides, overlap, batch).run(network, images)
        torch.testing.assert_close(found, network(images))


@settings(deadline=None, max_examples=50)
@given(size=SIZES, sides=SIDES, overlap=st.floats(0, 0.9))
def test_windows_cover_the_image_and_overlap_by_at_least_the_fraction(
    size: tuple[int, int], sides: tuple[int, int], overlap: float
) -> None:
    size = (max(size[0], sides[0]), max(size[1], sides[1]))
    places = Windows(sides, overlap, 1).places(size)
    covered = np.zeros(size, int)
    for place in places:
        assert covered[place].shape == sides
        covered[place] += 1
    assert covered.min() >= 1
    assert len(set(map(str, places))) == len(places)
    for axis in range(2):
        starts = sorted({place[axis].start for place in places})
        assert all(
            later - earlier <= max(sides[axis] * (1 - overlap), 1) for earlier, later in itertools.pairwise(starts)
        )


def test_outputs_are_averaged_where_windows_overlap() -> None:
    sizes = []

    def network(parts: Tensor) -> Tensor:
        sizes.append(tuple(parts.shape))
        # What a window gives depends on where a pixel lies in it.
        return parts[:, :1] + torch.arange(4.0)[None, None, None]

    images = torch.rand(1, 3, 2, 7)
    found = Windows((2, 4), 0.5, 2).run(network, images)
    assert sizes == [(2, 3, 2, 4), (1, 3, 2, 4)]
    added = np.zeros((3, 7))
    added[:] = np.nan
    for row, start in enumerate((0, 2, 3)):
        added[row, start : start + 4] = range(4)
    expected = images[0, 0].numpy() + np.nanmean(added, 0)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-6)


def test_outputs_of_volumes_are_averaged_along_three_axes() -> None:
    network = nn.Conv3d(1, 2, 3, padding=1)
    volume = torch.rand(1, 1, 5, 4, 6)
    total, count = np.zeros((2, 5, 4, 6)), np.zeros((5, 4, 6))
    with torch.no_grad():
        for corner in itertools.product((0, 2), (0,), (0, 2)):
            place = tuple(slice(start, start + side) for start, side in zip(corner, (3, 4, 4), strict=True))
            total[(slice(None), *place)] += network(volume[(slice(None), slice(None), *place)])[0].numpy()
            count[place] += 1
        found = Windows((3, 4, 4), 0.25, 3).run(network, volume)
    np.testing.assert_allclose(found[0].numpy(), total / count, rtol=1e-5, atol=1e-6)


def test_smaller_images_are_enlarged_by_their_border_and_the_output_is_cropped() -> None:
    seen: list[Tensor] = []

    def network(parts: Tensor) -> Tensor:
        seen.append(parts)
        return parts

    images = torch.rand(1, 1, 3, 2)
    assert torch.equal(Windows((4, 4), 0.0, 1).run(network, images), images)
    np.testing.assert_array_equal(seen[0][0, 0].numpy(), np.pad(images[0, 0].numpy(), ((0, 1), (0, 2)), "edge"))


def test_a_preprocessing_without_windows_has_none() -> None:
    assert Windows.of(GREY, 4) is None
    assert "window_overlap" not in GREY.to_dict()
    sliding = dataclasses.replace(GREY, window_overlap=0.25)
    assert Windows.of(sliding, 4) == Windows((20, 28), 0.25, 4)
    assert type(sliding).from_dict(sliding.to_dict()) == sliding
    assert type(GREY).from_dict(GREY.to_dict()) == GREY


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_outputs_of_mixed_precision_are_averaged_in_float32(dtype: torch.dtype) -> None:
    found = Windows((2, 2), 0.5, 8).run(lambda parts: parts.to(dtype), torch.rand(1, 1, 5, 5))
    assert found.dtype == torch.float32
