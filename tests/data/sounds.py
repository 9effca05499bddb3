"""Sound files for tests."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 8000


def tone(frequency: float, length: int = 4000, rate: int = RATE) -> NDArray[np.float32]:
    """Return a sine ``(length,)`` with an amplitude of 0.5."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(length) / rate)).astype(np.float32)


def write_wav(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write samples ``(length,)`` or ``(length, channels)`` with 16 bits, by Python's own module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate, len(samples), "NONE", ""))
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
    return path


def write_tones(root: Path, frequencies: Mapping[str, float], count: int, seed: int = 0) -> Path:
    """Write one folder per class with tones of its frequency in noise, of different lengths."""
    generator = np.random.default_rng(seed)
    for name, frequency in frequencies.items():
        for number in range(count):
            samples = tone(frequency * generator.uniform(0.9, 1.1), int(generator.integers(2500, 4500)))
            noise = generator.normal(0, 0.05, len(samples)).astype(np.float32)
            write_wav(root / name / f"{'ab'[number % 2]}_{number}.wav", (samples + noise).clip(-1, 1))
    return root
