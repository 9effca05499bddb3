from __future__ import annotations

import pytest
import torch

from dsft.choices import Form, Structure
from dsft.separable.forms import pass_bounds, storage_order, whole_slices
from dsft.separable.kernel_order import kernel_channels, kernel_ranks, swap_channels


def test_kernels_are_sorted_by_group_then_rank_then_channel() -> None:
    assert kernel_channels([2, 1, 0, 3], 4, 2) == [0, 1, 0, 3, 3, 3]
    assert kernel_channels([2, 2], 2, 1) == [0, 1, 0, 1]
    assert kernel_ranks([0, 1, 0, 3, 3, 3]) == [0, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(("kernels", "least"), [([1, 1], 0), ([1, 1, 1, -1], 0), ([0, 2, 1, 1], 1), ([2, 0, 1, 0], 0)])
def test_kernels_that_do_not_fit_are_refused(kernels: list[int], least: int) -> None:
    with pytest.raises(ValueError, match="kernels: "):
        kernel_channels(kernels, 4, 2, least)


def test_swapped_channels_are_those_of_a_transposed_convolution() -> None:
    weight = torch.randn(6, 2, 3)
    swapped = swap_channels(weight, 2)
    assert swapped.shape == (4, 3, 3)
    assert torch.equal(swap_channels(swapped, 2), weight)
    # Output 4 is the second of group 1, and reads input 3 as its second.
    assert torch.equal(swapped[3, 1], weight[4, 1])


def test_storage_follows_from_order_and_form() -> None:
    # Canonical: channels 0, 1, 0, 1.
    assert storage_order([2, 2], 1, Structure.DW_PW, Form.MULTIPLIER) == [0, 2, 1, 3]
    assert storage_order([2, 2], 1, Structure.DW_PW, Form.CONCATENATE) == [0, 1, 2, 3]
    # Canonical: channels 0, 1, 2, 1; the output with two kernels comes first.
    assert storage_order([1, 2, 1], 1, Structure.PW_DW, None) == [1, 0, 2, 3]


def test_slices_and_passes() -> None:
    assert whole_slices([2, 2, 2, 2], 2) == [(0, 2), (0, 2), (2, 2), (2, 2)]
    assert pass_bounds([3, 1, 1, 3], 2) == [(0, 2), (2, 3), (3, 4)]
