from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import firwin, upfirdn  # type: ignore[import-untyped]

from dsft.data.seeding import seeded
from dsft.data.signal_transforms import (
    SignalAugmentation,
    SignalTransform,
    fit_length,
    resample,
)
from dsft.data.sound import Signal
from dsft.errors import DataError
from dsft.preprocessing import MelSpectrogram, SignalPreprocessing
from tests.data.sounds import tone

MEL = MelSpectrogram(32, 256, 64, 0.0, 4000.0)


def plain(length: tuple[int, ...] = (1000,), channels: int = 1, **other: object) -> SignalPreprocessing:
    return SignalPreprocessing(length, channels, (0.0,) * channels, (1.0,) * channels).replace(**other)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(-12, 12)), min_size=1, max_size=3),
    st.integers(1, 2),
)
def test_a_length_is_met_by_cropping_and_padding(axes: list[tuple[int, int, int]], channels: int) -> None:
    sizes, wanted, shifts = (list(column) for column in zip(*axes, strict=True))
    values = np.arange(1, 1 + channels * int(np.prod(sizes)), dtype=np.float32).reshape(channels, *sizes)
    found = fit_length(values, wanted, shifts)
    # Where no axis is moved, each one is padded far beyond both ends and then cropped around its centre.
    room = 40
    padded = np.pad(values, [(0, 0), *[(room, room)] * len(sizes)])
    for axis, (size, new, shift) in enumerate(axes, 1):
        first = room - int(np.trunc((new - size) / 2)) - shift
        padded = padded.take(range(first, first + new), axis)
    np.testing.assert_array_equal(found, padded)


def test_an_odd_sample_is_at_the_end() -> None:
    assert fit_length(np.ones((1, 2), np.float32), [5], [0]).tolist() == [[0, 1, 1, 0, 0]]
    assert fit_length(np.arange(5, dtype=np.float32)[None], [2], [0]).tolist() == [[1, 2]]


@given(st.sampled_from([(8000, 16000), (16000, 8000), (44100, 8000), (11025, 8000), (8000, 8000)]))
def test_resampling_keeps_a_tone(rates: tuple[int, int]) -> None:
    before, after = rates
    found = resample(tone(500, before, before)[None], before, after)[0]
    assert len(found) == after
    expected = tone(500, after, after)
    # The ends see the zeros outside of the signal.
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=5e-3)


def test_resampling_is_polyphase_filtering() -> None:
    signal = np.random.default_rng(0).normal(size=600).astype(np.float32)
    up, down = 4, 3
    half = 10 * max(up, down)
    taps = firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0)) * up
    filtered = np.convolve(np.kron(signal, np.eye(1, up)[0]), taps)[half : half + len(signal) * up]
    np.testing.assert_allclose(resample(signal[None], 6000, 8000)[0], filtered[::down], atol=1e-5)
    np.testing.assert_allclose(upfirdn(taps, signal, up, 1)[half : half + len(signal) * up], filtered, atol=1e-5)


def test_a_signal_is_normalised() -> None:
    transform = SignalTransform(plain((4,), 2, mean=(1.0, 2.0), std=(2.0, 4.0)))
    found = transform(Signal(np.array([[1, 3, 5, 7], [2, 6, 10, 14]], np.float32)))
    assert found.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_several_channels_become_one_and_one_becomes_several() -> None:
    stereo = Signal(np.array([[1, 2], [3, 6]], np.float32))
    assert SignalTransform(plain((2,)))(stereo).tolist() == [[2, 4]]
    mono = Signal(np.array([[1, 2]], np.float32))
    assert SignalTransform(plain((2,), 3))(mono).tolist() == [[1, 2]] * 3
    with pytest.raises(DataError, match=r"1 or 3 channels.*found 2"):
        SignalTransform(plain((2,), 3))(stereo)


def test_the_rate_is_that_of_the_model() -> None:
    transform = SignalTransform(plain((8000,), rate=8000))
    with pytest.raises(DataError, match="without a rate"):
        transform(Signal(tone(300)[None]))
    found = transform(Signal(tone(300, 16000, 16000)[None], 16000))
    torch.testing.assert_close(found[0, 200:-200], torch.from_numpy(tone(300, 8000))[200:-200], atol=5e-3, rtol=0)


def test_a_signal_with_other_axes_is_refused() -> None:
    with pytest.raises(DataError, match=r"must have 2 axes.*\(1, 3, 3\)"):
        SignalTransform(plain())(Signal(np.zeros((1, 3, 3), np.float32)))


def test_a_spectrogram_is_an_image_of_each_channel() -> None:
    preprocessing = plain((4000,), 3, rate=8000, spectrogram=MEL, mean=(-30.0,) * 3, std=(20.0,) * 3)
    found = SignalTransform(preprocessing)(Signal(tone(700)[None], 8000))
    assert preprocessing.shape == (3, 32, 63)
    assert tuple(found.shape) == preprocessing.shape
    expected = torchaudio.transforms.MelSpectrogram(8000, 256, hop_length=64, n_mels=32)(torch.from_numpy(tone(700)))
    expected = (torchaudio.transforms.AmplitudeToDB("power")(expected) + 30) / 20
    for channel in found:
        torch.testing.assert_close(channel, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "augmentation",
    [
        SignalAugmentation(shift=0.2),
        SignalAugmentation(gain=6),
        SignalAugmentation(noise=0.5),
        SignalAugmentation(time_mask=0.3),
        SignalAugmentation(frequency_mask=0.5),
    ],
)
def test_augmentation_depends_on_the_seed_alone(augmentation: SignalAugmentation) -> None:
    transform = SignalTransform(plain((4000,), rate=8000, spectrogram=MEL), augmentation)
    signal = Signal(tone(700)[None], 8000)

    def draw(seed: int) -> torch.Tensor:
        with seeded(seed):
            return transform(signal)

    assert torch.equal(draw(1), draw(1))
    assert len({draw(seed).numpy().tobytes() for seed in range(8)}) > 4
    assert np.array_equal(signal.values[0], tone(700))


def test_a_gain_is_uniform_in_decibels() -> None:
    transform = SignalTransform(plain((4000,)), SignalAugmentation(gain=6))
    with seeded(0):
        factors = [float(transform(Signal(tone(700)[None])).abs().max() / 0.5) for _ in range(400)]
    decibels = 20 * np.log10(factors)
    assert decibels.min() > -6.05
    assert decibels.max() < 6.05
    assert abs(decibels.mean()) < 0.6
    assert 3.0 < decibels.std() < 3.9  # 12 / sqrt(12) = 3.46


def test_noise_is_relative_to_the_signal() -> None:
    transform = SignalTransform(plain((4000,)), SignalAugmentation(noise=0.5))
    quiet = 0.01 * tone(700)
    with seeded(0):
        levels = [float((transform(Signal(quiet[None])) - torch.from_numpy(quiet)).std()) for _ in range(100)]
    # Its root mean square is 0.01 * 0.5 / sqrt(2).
    assert max(levels) < 0.5 * 0.0036
    assert max(levels) > 0.4 * 0.0035


def test_masks_are_runs_of_zeros_within_their_limit() -> None:
    preprocessing = plain((4000,), rate=8000, spectrogram=MEL)
    ones = Signal(np.random.default_rng(0).normal(size=(1, 4000)).astype(np.float32), 8000)
    transform = SignalTransform(preprocessing, SignalAugmentation(time_mask=0.25, frequency_mask=0.5))
    with seeded(0):
        for _ in range(50):
            is_masked = transform(ones)[0] == 0
            columns, rows = is_masked.all(0).nonzero().flatten(), is_masked.all(1).nonzero().flatten()
            for run, most in ((columns, round(0.25 * 63)), (rows, round(0.5 * 32))):
                assert len(run) <= most
                assert not len(run) or int(run[-1] - run[0]) == len(run) - 1


def test_a_flip_reverses_the_last_axis_as_often_as_asked() -> None:
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    flipped = SignalTransform(plain((2, 3, 4)), SignalAugmentation(hflip=1.0))(Signal(values))
    np.testing.assert_array_equal(flipped, values[..., ::-1])
    transform = SignalTransform(plain((2, 3, 4)), SignalAugmentation(hflip=0.25))
    with seeded(0):
        count = sum(bool(transform(Signal(values))[0, 0, 0, 0] == 3) for _ in range(400))
    assert 70 < count < 130
