from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dsft.metrics import luminance
from dsft.tasks import RESTORATION, Rows

SCORER = RESTORATION.scorer
# Rows of red, green and blue, from ITU-R BT.601: 219/255 of the luma, from 16 on.
LUMA = (0.299, 0.587, 0.114)


def draw(images: int, channels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(channels)
    clean = torch.rand(images, channels, 20, 26, generator=generator)
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean


def luma(images: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, dtype=torch.float64).reshape(1, 3, 1, 1)
    return (16 + 219 * (images.double().clamp(0, 1) * weights).sum(1, keepdim=True)) / 255


def test_the_scores_are_those_of_torchmetrics_also_on_the_luminance() -> None:
    restored, clean = draw(3, 3)
    found = SCORER.monitored_metrics(*SCORER.reduce(restored, clean))
    one, two = restored.double().clamp(0, 1), clean.double()
    for suffix, first, second in (("", one, two), ("_y", luma(restored), luma(clean))):
        pairs = [(first[index, None], second[index, None]) for index in range(3)]
        psnr = [peak_signal_noise_ratio(*pair, data_range=1.0).item() for pair in pairs]
        ssim = [structural_similarity_index_measure(*pair, data_range=1.0) for pair in pairs]
        assert found[f"psnr{suffix}"] == pytest.approx(np.mean(psnr), abs=1e-4)
        assert found[f"ssim{suffix}"] == pytest.approx(float(torch.stack(ssim).mean()), abs=1e-5)  # type: ignore[arg-type]
    assert found["psnr_y"] > found["psnr"] + 1


def test_the_luminance_is_that_of_pillow_in_its_range() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image = torch.from_numpy(colours).permute(2, 0, 1)[None] / 255
    # Pillow's Y is a whole number from 0 to 255.
    full = np.asarray(Image.fromarray(colours).convert("YCbCr"))[..., 0]
    np.testing.assert_allclose(luminance(image.double())[0, 0], (16 + 219 / 255 * full) / 255, atol=1 / 255)


def test_an_image_of_one_channel_is_its_own_luminance() -> None:
    found = SCORER.monitored_metrics(*SCORER.reduce(*draw(2, 1)))
    assert (found["psnr_y"], found["ssim_y"]) == (found["psnr"], found["ssim"])


def test_rows_of_parts_are_the_rows_of_the_whole() -> None:
    restored, clean = draw(5, 3)
    whole = SCORER.reduce(restored, clean)
    parts = [SCORER.reduce(restored[place], clean[place]) for place in (slice(0, 2), slice(2, 5))]
    merged = Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))
    for one, other in zip(merged, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    metrics = SCORER.compute_metrics(*merged, classes=(), split_name="test", skipped=0, calibrated=None).to_dict()
    for name, value in SCORER.monitored_metrics(*whole).items():
        assert metrics[name] == value
    low, high = metrics["psnr_interval"]
    assert low < metrics["psnr"] < high


def test_the_interval_of_a_difference_is_paired() -> None:
    restored, clean = draw(6, 1)
    first, second = SCORER.reduce(restored, clean), SCORER.reduce(0.5 * (restored + clean), clean)
    # Half of the error is 6.02 dB for every image, up to clipping.
    low, high = SCORER.difference_interval(first, second)
    assert 5.5 < low < high < 6.1
    assert high - low < 0.3


def test_predictions_are_listed_with_their_columns() -> None:
    rows = SCORER.reduce(*draw(2, 3))
    described = RESTORATION.view.describe_images(rows, ())
    assert {len(cells) for cells in described} == {len(RESTORATION.view.columns)}
    assert float(described[1][0]) == pytest.approx(rows.outputs[1, 0].item(), abs=1e-6)
