from __future__ import annotations

import pytest
import torch

import dsft
from dsft.data.photographs import MEAN, STD


def test_are_preprocessed_crops_that_the_seed_determines() -> None:
    images = dsft.photographs((24, 32), 6, seed=1)
    assert (images.shape, images.dtype) == ((6, 3, 24, 32), torch.float32)
    assert torch.equal(images, dsft.photographs((24, 32), 6, seed=1))
    assert not torch.equal(images, dsft.photographs((24, 32), 6, seed=2))
    pixels = images * torch.tensor(STD).reshape(1, 3, 1, 1) + torch.tensor(MEAN).reshape(1, 3, 1, 1)
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6
    # Photographs, no noise: neighbors are alike.
    assert float((pixels[..., 1:] - pixels[..., :-1]).abs().mean()) < 0.5 * float(pixels.std())


def test_take_the_normalization_of_a_network() -> None:
    pixels = dsft.photographs((16, 16), 4, mean=(0, 0, 0), std=(1, 1, 1))
    scaled = dsft.photographs((16, 16), 4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125))
    torch.testing.assert_close(scaled, (pixels - 0.5) / torch.tensor([0.5, 0.25, 0.125]).reshape(1, 3, 1, 1))


@pytest.mark.parametrize("settings", [{"count": 0}, {"mean": (0.5,)}, {"std": (1.0, 1.0)}])
def test_what_does_not_fit_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="photographs: a count of at least 1 and three numbers"):
        dsft.photographs((16, 16), **settings)  # type: ignore[arg-type]
