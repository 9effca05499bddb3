from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from scipy.signal import get_window, stft  # type: ignore[import-untyped]
from torch import Tensor

from dsft.data.spectrogram import mel_filters, mel_spectrogram
from dsft.preprocessing import MelSpectrogram

SETTINGS = [
    (8000, MelSpectrogram(40, 256, 80, 0.0, 4000.0)),
    (16000, MelSpectrogram(64, 400, 160, 60.0, 7600.0)),
    (22050, MelSpectrogram(24, 1024, 441, 0.0, 11025.0)),
]


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("rate", "settings"), SETTINGS)
def test_the_filters_are_those_of_torchaudio(rate: int, settings: MelSpectrogram) -> None:
    expected = torchaudio.functional.melscale_fbanks(
        settings.window // 2 + 1, settings.low, settings.high, settings.bands, rate
    )
    # torchaudio computes the edges in float32.
    torch.testing.assert_close(mel_filters(rate, settings), expected.T, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("rate", "settings"), SETTINGS)
def test_the_spectrogram_is_that_of_torchaudio(rate: int, settings: MelSpectrogram, noise: Tensor) -> None:
    transform = torchaudio.transforms.MelSpectrogram(
        rate, settings.window, hop_length=settings.hop, f_min=settings.low, f_max=settings.high, n_mels=settings.bands
    )
    expected = torchaudio.transforms.AmplitudeToDB("power")(transform(noise))
    found = mel_spectrogram(noise, rate, settings)
    assert found.shape == (2, settings.bands, settings.frames(5000))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_the_powers_are_those_of_scipy(noise: Tensor) -> None:
    rate, settings = SETTINGS[0]
    window, overlap = get_window("hann", settings.window), settings.window - settings.hop
    padded = np.pad(noise[0].double().numpy(), settings.window // 2, mode="reflect")
    _, _, spectrum = stft(padded, rate, window, settings.window, overlap, boundary=None, padded=False)
    # scipy divides by the sum of the window.
    powers = np.abs(spectrum * window.sum()) ** 2
    expected = 10 * np.log10(mel_filters(rate, settings).double().numpy() @ powers)
    np.testing.assert_allclose(mel_spectrogram(noise, rate, settings)[0].numpy(), expected, atol=1e-3)


def test_silence_has_the_least_level() -> None:
    rate, settings = SETTINGS[0]
    assert (mel_spectrogram(torch.zeros(1, 800), rate, settings) == -100).all()


def test_a_tone_is_in_the_band_of_its_frequency() -> None:
    rate, settings = SETTINGS[0]
    time = torch.arange(4000) / rate
    levels = mel_spectrogram(torch.sin(2 * torch.pi * 1000 * time)[None], rate, settings)[0].mean(1)
    centres = [float(filters.argmax()) * rate / settings.window for filters in mel_filters(rate, settings)]
    assert abs(centres[int(levels.argmax())] - 1000) < 100
