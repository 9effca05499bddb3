"""Read signals from files: sound by soundfile, volumes by nibabel, arrays by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsft.data.nifti import NIFTI_EXTENSIONS, import_nibabel, read_nifti
from dsft.errors import DataError

SOUND_EXTENSIONS = frozenset({".aif", ".aiff", ".au", ".flac", ".mp3", ".ogg", ".opus", ".wav"})
ARRAY_EXTENSION = ".npy"


@dataclass(frozen=True, eq=False)
class Signal:
    """A signal.

    Attributes:
        values: The samples ``(channels, length)``, float32; sound is from -1 to 1. Other signals may have more axes.
        rate: Samples per second; None if the signal has no rate.
        spacing: Distance of neighbouring samples along each axis, in mm; None if it is unknown.
    """

    values: NDArray[np.float32]
    rate: int | None = None
    spacing: tuple[float, ...] | None = None


def import_soundfile() -> Any:
    """Return soundfile.

    Raises:
        DataError: It is not installed, or lacks the library that it wraps.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise DataError(
            f"data.source audio: sound is read by the package soundfile, which cannot be imported ({error}). Install "
            "it with pip install 'dsft[audio]'."
        ) from error
    return soundfile


def read_signal(path: Path) -> Signal:
    """Read a sound file, a NIfTI file, or a NumPy file (``.npy``) with one array ``(channels, length, ...)``.

    Raises:
        DataError: The file is missing or damaged, has no samples, or values that are not finite.
    """
    name = path.name.lower()
    read, import_package = next((own for ending, own in _READERS.items() if name.endswith(ending)), _SOUND_READER)
    package = import_package()
    try:
        signal = read(path, package)
        if not signal.values.size:
            raise ValueError("it has no samples")
        if not np.isfinite(signal.values).all():
            raise ValueError("it has NaN or infinite values")
    except MemoryError:
        raise
    except Exception as error:  # the decoders of soundfile and NumPy raise errors of many types
        raise DataError(
            f"{str(path)!r} cannot be read as a signal ({type(error).__name__}: {error}). Repair or remove it."
        ) from error
    return signal


def read_array_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the array in a NumPy file, without its values.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        shape: tuple[int, ...] = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError):
        return read_signal(path).values.shape  # raises the error with the name of the file
    return shape


def as_samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as float32.

    Raises:
        ValueError: They are no real numbers.
    """
    if array.dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, found the type {array.dtype}")
    return np.ascontiguousarray(array, np.float32)


def _read_sound(path: Path, soundfile: Any) -> Signal:
    values, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Signal(np.ascontiguousarray(values.T), int(rate))


def _read_array(path: Path, _: Any) -> Signal:
    array = np.load(path, allow_pickle=False)
    if array.ndim < 2:
        raise ValueError(f"expected an array (channels, length), found the shape {array.shape}")
    return Signal(as_samples(array))


def _read_volume(path: Path, nibabel: Any) -> Signal:
    values, spacing = read_nifti(path, nibabel)
    return Signal(values, spacing=spacing)


Reader = tuple[Callable[[Path, Any], Signal], Callable[[], Any]]
"""What reads a file, and what imports the package for it."""

_SOUND_READER: Reader = (_read_sound, import_soundfile)
_READERS: Mapping[str, Reader] = {
    ARRAY_EXTENSION: (_read_array, lambda: None),
    **dict.fromkeys(NIFTI_EXTENSIONS, (_read_volume, import_nibabel)),
}
"""The readers of files that are no sound, by the endings of their names."""
