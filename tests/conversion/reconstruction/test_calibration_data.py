from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsft.conversion.reconstruction import calibration_data
from dsft.conversion.reconstruction.calibration_data import (
    BATCH_SIZE,
    gather_positions,
    read_calibration,
    sample_maps,
    sample_positions,
)
from dsft.errors import ConversionError
from dsft.measure import batch_size_of

MODEL = nn.Linear(2, 2)


def test_tensors_are_cut_into_small_batches_and_the_rest_is_kept() -> None:
    images = torch.randn(2 * BATCH_SIZE + 1, 3, 4, 4)
    batches = read_calibration(images, MODEL)
    assert list(map(batch_size_of, batches)) == [BATCH_SIZE, BATCH_SIZE, 1]
    assert torch.equal(torch.cat([batch for batch in batches if isinstance(batch, Tensor)]), images)
    pair = (torch.ones(2, 3), {"scale": torch.ones(1)})
    read: Any = read_calibration(iter([pair, [torch.zeros(3, 4, 4)]]), MODEL)
    assert read[1][0].shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected at least one batch of inputs, found none"),
        ("images", "expected an iterable of batches"),
        ({"x": torch.ones(1)}, "put a batch that is a dict or a tuple into a list"),
        (7, "expected an iterable of batches as the network takes them, found int"),
        ([torch.ones(2), torch.tensor([1.0, float("nan")])], "batch 1 holds NaN or infinite values"),
        ([torch.ones(0, 3)], r"batch 0 is empty, of shape \(0, 3\)"),
        ([["path.jpg"]], "expected tensors in batch 0, found list"),
    ],
)
def test_bad_input_is_named(given: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=f"(?i){message}"):
        read_calibration(given, MODEL)


@pytest.mark.parametrize("size", [(6,), (5, 7), (2, 3, 4)])
def test_the_same_positions_of_maps_with_other_channels(size: tuple[int, ...]) -> None:
    images = torch.randn(3, 2, *size)
    chosen = sample_positions(images, 9, seed=4)
    assert chosen.shape == (3, 3)
    taken = gather_positions(images, chosen)
    flat = images.flatten(2)
    expected = torch.stack([flat[image, :, place] for image in range(3) for place in chosen[image].tolist()])
    assert torch.equal(taken, expected)
    assert torch.equal(sample_positions(images.repeat(1, 5, *(1 for _ in size)), 9, seed=4), chosen)
    assert not torch.equal(sample_positions(images, 9, seed=5), chosen)


def test_few_images_at_a_time_see_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(3, 8, 3, stride=2)
    images = torch.randn(7, 3, 9, 9)
    whole = sample_maps(conv, images, 20, seed=1)
    assert torch.equal(whole, gather_positions(conv(images), sample_positions(conv(images), 20, seed=1)))
    monkeypatch.setattr(calibration_data, "CHUNK_BYTES", 1)
    torch.testing.assert_close(sample_maps(conv, images, 20, seed=1), whole)
    assert not whole.requires_grad


def test_no_images_have_no_positions() -> None:
    conv = nn.Conv2d(3, 8, 3)
    assert sample_maps(conv, torch.zeros(0, 3, 9, 9), 20, seed=1).shape == (0, 8)
