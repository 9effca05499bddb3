"""Mel spectrograms."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from dsft.preprocessing import MelSpectrogram

FLOOR = 1e-10
"""The least power, which is that of silence: -100 dB."""


def mel_spectrogram(signal: Tensor, rate: int, settings: MelSpectrogram) -> Tensor:
    """Return the power in mel bands, in decibels.

    The frames are centred on samples ``0, hop, 2 hop, ...`` of the signal, which is reflected at its ends, and weighted
    by a periodic Hann window. The power of a band is the sum of the squared magnitudes of the Fourier transform,
    weighted by :func:`mel_filters`, and at least :data:`FLOOR`.

    Args:
        signal: ``(channels, length)``, longer than half a window.
        rate: Samples per second.
        settings: Bands and frames.

    Returns:
        ``(channels, bands, frames)``, float32.
    """
    spectrum = torch.stft(
        signal,
        settings.window,
        settings.hop,
        window=torch.hann_window(settings.window),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = mel_filters(rate, settings) @ spectrum.abs().square()
    return 10 * power.clamp_min(FLOOR).log10()


@functools.cache
def mel_filters(rate: int, settings: MelSpectrogram) -> Tensor:
    """Return the weights of the frequencies in each band: triangles over neighbouring bands, with a height of 1.

    The centres of the bands are evenly spaced on the mel scale, ``2595 log10(1 + f / 700)`` for a frequency ``f`` in Hz
    (O'Shaughnessy 1987, "Speech Communication").

    Args:
        rate: Samples per second.
        settings: Bands, and the window, whose Fourier transform has ``window // 2 + 1`` frequencies.

    Returns:
        ``(bands, window // 2 + 1)``, float32.
    """
    frequencies = torch.linspace(0, rate / 2, settings.window // 2 + 1, dtype=torch.float64)
    low, high = (_mel(torch.tensor(edge, dtype=torch.float64)) for edge in (settings.low, settings.high))
    mels = torch.linspace(float(low), float(high), settings.bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()


def _mel(frequency: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + frequency / 700)
