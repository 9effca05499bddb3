from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dsft.data.sound import as_samples, read_signal
from dsft.errors import DataError
from tests.data.sounds import tone, write_wav


def test_samples_are_those_that_were_written(tmp_path: Path) -> None:
    samples = tone(440)
    signal = read_signal(write_wav(tmp_path / "a.wav", samples))
    assert (signal.rate, signal.values.shape, str(signal.values.dtype)) == (8000, (1, 4000), "float32")
    # 16 bits, of which full scale is 32768 for the reader and 32767 for the writer.
    np.testing.assert_allclose(signal.values[0], samples, atol=5e-5)


def test_channels_come_first(tmp_path: Path) -> None:
    both = np.stack([tone(300), tone(700)], axis=1)
    signal = read_signal(write_wav(tmp_path / "a.wav", both, rate=44100))
    assert signal.rate == 44100
    np.testing.assert_allclose(signal.values, both.T, atol=5e-5)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("flac", "PCM_24"), ("wav", "FLOAT"), ("wav", "PCM_U8"), ("ogg", None)]
)
def test_other_formats_are_read(tmp_path: Path, suffix: str, subtype: str | None) -> None:
    path, samples = tmp_path / f"a.{suffix}", tone(440)
    soundfile.write(path, samples, 8000, subtype=subtype)
    found = read_signal(path).values[0]
    assert len(found) == len(samples)
    assert np.corrcoef(found, samples)[0, 1] > 0.99


def test_an_array_file_is_a_signal_without_a_rate(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(12, dtype=np.int16).reshape(2, 6))
    signal = read_signal(tmp_path / "a.npy")
    assert signal.rate is None
    assert signal.values.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def _damaged(path: Path) -> None:
    write_wav(path, tone(440))
    path.write_bytes(path.read_bytes()[:20])


def _without_samples(path: Path) -> None:
    write_wav(path, np.zeros(0, np.float32))


def _not_finite(path: Path) -> None:
    soundfile.write(path, np.array([0, np.nan, 1], np.float32), 8000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("write", "reason"),
    [(_damaged, "cannot be read as a signal"), (_without_samples, "no samples"), (_not_finite, "NaN or infinite")],
)
def test_a_file_that_is_no_signal_is_named(tmp_path: Path, write: Any, reason: str) -> None:
    write(tmp_path / "bad.wav")
    with pytest.raises(DataError, match=rf"bad\.wav' cannot be read as a signal.*{reason}|{reason}.*bad"):
        read_signal(tmp_path / "bad.wav")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.array([{"a": 1}], object), "allow_pickle=False"),
        (np.zeros(5), r"expected an array \(channels, length\), found the shape \(5,\)"),
        (np.zeros((1, 5), complex), "expected real numbers"),
    ],
)
def test_an_array_that_is_no_signal_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    with pytest.raises(DataError, match=reason):
        read_signal(tmp_path / "a.npy")


def test_samples_are_float32() -> None:
    assert as_samples(np.array([[True, False]])).tolist() == [[1, 0]]


def test_without_soundfile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "a.wav", tone(440))
    original = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "soundfile":
            raise ImportError("No module named 'soundfile'")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'dsft\[audio\]'"):
        read_signal(tmp_path / "a.wav")
