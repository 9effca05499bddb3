from __future__ import annotations

import numpy as np

from dsft.data.sources.tones import COUNT, RATE, open_tones


def test_tones_are_the_same_each_time() -> None:
    (one,), (other,) = open_tones().values(), open_tones().values()
    assert len(one.targets) == COUNT
    assert [one.identity(index) for index in (0, 700, COUNT - 1)] == [other.identity(i) for i in (0, 700, COUNT - 1)]
    signal = one.read(3)
    assert (signal.rate, signal.values.shape) == (RATE, (1, RATE))
    assert 0.1 <= np.abs(signal.values).max() <= 1


def test_every_kind_is_equally_frequent() -> None:
    (source,) = open_tones().values()
    assert np.bincount(source.targets).tolist() == [COUNT // 5] * 5


def test_a_swept_tone_rises_or_falls() -> None:
    (source,) = open_tones().values()

    def mean_slope(name: str) -> float:
        chosen = [i for i, target in enumerate(source.targets) if source.classes[int(str(target))] == name][:40]
        slopes = []
        for index in chosen:
            samples = source.read(index).values[0]
            frames = samples.reshape(20, -1)
            peaks = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]))).argmax(1)
            loud = (frames**2).mean(1) > np.median((frames**2).mean(1))
            slopes.append(np.polyfit(np.flatnonzero(loud), peaks[loud], 1)[0])
        return float(np.median(slopes))

    assert mean_slope("rising") > 0.1
    assert mean_slope("falling") < -0.1
    assert abs(mean_slope("steady")) < 0.1
