from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dsft.metrics import mean_interval, peak_signal_to_noise_ratio, structural_similarity


@pytest.mark.parametrize("channels", [1, 3])
def test_the_scores_are_those_of_torchmetrics(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(4, channels, 31, 24, generator=generator, dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    restored = (clean + noise * torch.tensor([0.01, 0.05, 0.1, 0.4]).reshape(4, 1, 1, 1)).clamp(0, 1)
    psnr, ssim = peak_signal_to_noise_ratio(restored, clean), structural_similarity(restored, clean)
    for index in range(4):
        one, two = restored[index, None], clean[index, None]
        assert psnr[index].item() == pytest.approx(peak_signal_noise_ratio(one, two, data_range=1.0).item(), rel=1e-6)
        expected = structural_similarity_index_measure(one, two, data_range=1.0)
        assert isinstance(expected, torch.Tensor)
        assert ssim[index].item() == pytest.approx(expected.item(), abs=1e-6)


def test_equal_images_have_the_highest_scores() -> None:
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert peak_signal_to_noise_ratio(image, image).item() == pytest.approx(100)
    assert structural_similarity(image, image).item() == pytest.approx(1)


def test_the_interval_of_a_mean_is_a_bootstrap() -> None:
    values = torch.tensor([30.0, 31.0, 28.5, 35.0, 33.0])
    random = np.random.default_rng(1)
    drawn = values.numpy()[random.integers(0, 5, (4000, 5))].mean(1)
    assert mean_interval(values) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.2)
