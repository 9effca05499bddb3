"""Pictures of signals, for pages."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dsft.data.sound import Signal

_WINDOW = 256
"""Samples of a frame of a spectrogram."""

_RANGE_DB = 80.0
"""Levels that a spectrogram distinguishes, below its loudest."""

_BACKGROUND, _LINE = 255, 60


def draw_signal(signal: Signal, largest: int) -> NDArray[np.uint8]:
    """Return a picture ``(height, width)`` of a signal, with sides of at most ``largest`` pixels.

    This is the spectrogram of a signal with a rate, low frequencies at the bottom and loud ones dark; the waveform of
    another signal with one axis; and otherwise the middle of the first channel along all but the last two axes.
    """
    values = np.asarray(signal.values, np.float32)
    if values.ndim > 2:
        plane = values[0]
        while plane.ndim > 2:
            plane = plane[len(plane) // 2]
        return _reduced(_grey(plane), largest)
    if signal.rate is not None and values.shape[1] > _WINDOW:
        return _spectrogram(values.mean(axis=0), largest)
    return _waveform(values, largest)


def _spectrogram(samples: NDArray[np.float32], largest: int) -> NDArray[np.uint8]:
    hop = max(len(samples) // largest, 1) + 1
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(torch.from_numpy(samples), _WINDOW, hop, window=window, return_complex=True)
    levels = 20 * spectrum.abs().clamp_min(1e-10).log10().numpy()
    shown = levels.clip(levels.max() - _RANGE_DB)
    return _reduced(_BACKGROUND - _grey(shown)[::-1], largest)


def _waveform(values: NDArray[np.float32], largest: int) -> NDArray[np.uint8]:
    """Draw each channel as the range of its values in each column, one channel below another."""
    width = min(largest, values.shape[1])
    height = max(largest // (4 * len(values)), 8)
    rows = [_range_picture(np.array_split(channel, width), height) for channel in values[: largest // height]]
    return np.concatenate(rows)


def _range_picture(parts: list[NDArray[np.float32]], height: int) -> NDArray[np.uint8]:
    lows, highs = np.array([part.min() for part in parts]), np.array([part.max() for part in parts])
    low, spread = lows.min(), max(float(highs.max() - lows.min()), 1e-12)
    tops = np.rint((height - 1) * (1 - (highs - low) / spread)).astype(int)
    bottoms = np.rint((height - 1) * (1 - (lows - low) / spread)).astype(int)
    rows = np.arange(height)[:, None]
    drawn: NDArray[np.uint8] = np.where((rows >= tops) & (rows <= bottoms), _LINE, _BACKGROUND).astype(np.uint8)
    return drawn


def _grey(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = float(plane.min()), float(plane.max())
    grey: NDArray[np.uint8] = np.rint((plane - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return grey


def _reduced(picture: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    """Keep every n-th row and column."""
    steps = [-(-side // largest) for side in picture.shape]
    return np.ascontiguousarray(picture[:: steps[0], :: steps[1]])
