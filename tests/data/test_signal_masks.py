from __future__ import annotations

import numpy as np
import pytest
import torch

from dsft.choices import NO_CLASS
from dsft.data.seeding import seeded
from dsft.data.signal_masks import SignalMaskTransform
from dsft.data.signal_transforms import SignalAugmentation
from dsft.data.sound import Signal
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import MelSpectrogram, SignalPreprocessing


def plain(*length: int) -> SignalPreprocessing:
    return SignalPreprocessing(length, 1, (0.0,), (1.0,))


@pytest.mark.parametrize("shape", [(50,), (9, 12), (5, 6, 7)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_values_and_classes_stay_together(shape: tuple[int, ...], shift: float) -> None:
    mask = np.random.default_rng(0).integers(0, 5, shape, dtype=np.uint8)
    signal = Signal((mask + 1.0).astype(np.float32)[None])
    transform = SignalMaskTransform(plain(*(size + 4 for size in shape)), SignalAugmentation(shift=shift))
    starts = set()
    for seed in range(8):
        with seeded(seed):
            values, classes = transform(signal, mask, "a")
        assert classes.dtype == torch.int64
        padded = classes == NO_CLASS
        assert torch.equal(values[0] == 0, padded)
        assert torch.equal(values[0][~padded] - 1, classes[~padded].float())
        assert bool(padded.any())
        starts.add(int((~padded).flatten().long().argmax()))
    assert (len(starts) > 3) == (shift > 0)


def test_a_class_is_needed_for_each_sample() -> None:
    with pytest.raises(DataError, match=r"'a': must have a class for each sample.*\(6,\) and \(5,\)"):
        SignalMaskTransform(plain(6))(Signal(np.ones((1, 6), np.float32)), np.zeros(5, np.uint8), "a")
    with pytest.raises(DataError, match="the rate 100"):
        SignalMaskTransform(plain(6))(Signal(np.ones((1, 6), np.float32), 100), np.zeros(6, np.uint8), "a")


def test_a_spectrogram_has_no_samples() -> None:
    mel = MelSpectrogram(8, 64, 32, 0.0, 50.0)
    with pytest.raises(RecipeError, match="has no samples"):
        SignalMaskTransform(plain(100).replace(rate=100, spectrogram=mel))
