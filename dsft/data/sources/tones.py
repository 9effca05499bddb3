"""Artificial sounds that are made from a seed: five kinds of tones in noise, one second each at 4 kHz."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dsft.choices import SplitName
from dsft.data.sources.arrays import SignalArray
from dsft.data.sources.images import Source

RATE = 4000
COUNT = 1500
"""Number of sounds, in equal parts of each kind."""

_LOWEST, _HIGHEST = 200.0, 1200.0  # of the first frequency, in Hz
_NOISE = (0.1, 0.6)  # standard deviation of the noise, where the tone has an amplitude of 1

Samples = NDArray[np.float64]


def open_tones() -> Mapping[SplitName, Source]:
    """Return the sounds in one part; nothing is read or downloaded.

    Each is a tone of random frequency, phase, start and length in white noise: of constant frequency (``steady``), of
    rising or falling frequency (``rising``, ``falling``), trembling in frequency (``vibrato``) or in loudness
    (``tremolo``).
    """
    generator = np.random.default_rng(0)
    targets = tuple(index % len(_KINDS) for index in range(COUNT))
    makers = tuple(_KINDS.values())
    sounds = [_sound(makers[target], generator) for target in targets]
    values = np.stack(sounds).astype(np.float32)[:, None]
    return {SplitName.TRAIN: SignalArray("tones", tuple(_KINDS), values, targets, RATE)}


def _sound(make: Callable[[Samples, float, float], Samples], generator: np.random.Generator) -> Samples:
    """Return a tone ``(RATE,)`` in noise, scaled to a peak between 0.1 and 1."""
    length = int(generator.integers(RATE // 2, RATE))
    start = int(generator.integers(RATE - length + 1))
    time = np.arange(length) / RATE
    tone = make(time, float(generator.uniform(_LOWEST, _HIGHEST)), float(generator.uniform(0.5, 1.5)))
    sound = generator.normal(0, generator.uniform(*_NOISE), RATE)
    # A window without steps at its ends, which would be heard as clicks.
    sound[start : start + length] += tone * np.sin(np.pi * np.arange(length) / length) ** 0.5
    scaled: Samples = sound * (generator.uniform(0.1, 1) / np.abs(sound).max())
    return scaled


def _swept(time: Samples, frequency: float, bend: float) -> Samples:
    """Return a tone whose frequency grows by ``bend`` times itself over its length."""
    phase = frequency * (time + bend * time**2 / (2 * time[-1]))
    swept: Samples = np.sin(2 * np.pi * phase)
    return swept


def _vibrato(time: Samples, frequency: float, strength: float) -> Samples:
    speed = 6.0  # Hz
    phase = frequency * time + 0.08 * strength * frequency / (2 * np.pi * speed) * np.sin(2 * np.pi * speed * time)
    tone: Samples = np.sin(2 * np.pi * phase)
    return tone


def _tremolo(time: Samples, frequency: float, strength: float) -> Samples:
    tone: Samples = np.sin(2 * np.pi * frequency * time) * (1 - 0.45 * strength * (1 + np.cos(12 * np.pi * time)) / 2)
    return tone


_KINDS: Mapping[str, Callable[[Samples, float, float], Samples]] = {
    "falling": lambda time, frequency, strength: _swept(time, frequency, -0.4 * strength),
    "rising": lambda time, frequency, strength: _swept(time, frequency, 0.4 * strength),
    "steady": lambda time, frequency, _: _swept(time, frequency, 0.0),
    "tremolo": _tremolo,
    "vibrato": _vibrato,
}
