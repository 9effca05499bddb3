"""Signals: numbers along one or more axes, such as sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from dsft.choices import InputKind
from dsft.data.inputs.input_type import InputType, Measures, Packed
from dsft.data.nifti import NIFTI_EXTENSIONS
from dsft.data.signal_pictures import draw_signal
from dsft.data.signal_steps import describe_signal_steps
from dsft.data.signal_transforms import SignalTransform
from dsft.data.sound import ARRAY_EXTENSION, SOUND_EXTENSIONS, Signal, read_signal
from dsft.data.transforms import Transform
from dsft.preprocessing import InputPreprocessing, SignalPreprocessing

_SILENCE = 1e-4
"""Largest magnitude of a silent signal, relative to full scale: -80 dB."""


class SignalInput(InputType):
    """Implements :class:`InputType`; an example is a :class:`dsft.data.sound.Signal`."""

    kind: ClassVar = InputKind.SIGNAL
    extensions: ClassVar = SOUND_EXTENSIONS | NIFTI_EXTENSIONS | {ARRAY_EXTENSION}
    default_channels: ClassVar = 1
    measures: ClassVar = Measures({"lengths": 0, "rates": 0, "channels": 0}, {"silent": False})

    def read_file(self, path: Path) -> Signal:
        """Read a sound file, or an array in a NumPy file."""
        return read_signal(path)

    def count_channels(self, example: Signal) -> int:
        """Return the length of the first axis."""
        return len(example.values)

    def content(self, example: Signal) -> bytes:
        """Return rate, shape and samples."""
        return (
            f"{example.rate}{example.spacing}{example.values.shape}".encode()
            + np.ascontiguousarray(example.values).tobytes()
        )

    def measure(self, example: Signal) -> Measures:
        """Return length, rate and channels, and whether a signal with a rate is silent."""
        length = int(np.prod(example.values.shape[1:]))
        # Signals without a rate have no full scale; those are silent that are constant.
        level = np.abs(example.values).max() if example.rate is not None else np.ptp(example.values)
        is_silent = bool(level <= (_SILENCE if example.rate is not None else 0))
        sizes = {"lengths": length, "rates": example.rate or 0, "channels": len(example.values)}
        return Measures(sizes, {"silent": is_silent})

    def picture(self, example: Signal, largest: int) -> NDArray[np.uint8]:
        """Return the spectrogram of sound, the waveform of other signals, or the middle of an array."""
        return draw_signal(example, largest)

    def pack(self, example: Signal) -> Packed:
        """Return sizes, spacing and samples, and rate, number of axes and channels."""
        values = np.ascontiguousarray(example.values, np.float32)
        size = values.shape[1:]
        # A signal whose spacing is unknown has none along any axis.
        geometry = np.array([*size, *(example.spacing or (0.0,) * len(size))])
        content = np.concatenate([geometry.view(np.uint8), values.view(np.uint8).ravel()])
        return Packed(content, (example.rate or 0, len(size), len(values)))

    def unpack(self, packed: Packed) -> Signal:
        """Return the signal."""
        rate, axes, channels = packed.header
        content = packed.content.tobytes()
        geometry = np.frombuffer(content, np.float64, 2 * axes)
        samples = np.frombuffer(content, np.float32, offset=geometry.nbytes)
        spacing = tuple(geometry[axes:].tolist()) if geometry[axes:].all() else None
        return Signal(samples.reshape(channels, *geometry[:axes].astype(int)), rate or None, spacing)

    def evaluation_transform(self, preprocessing: InputPreprocessing) -> Transform:
        """Return the transform without augmentation."""
        return SignalTransform(cast("SignalPreprocessing", preprocessing))

    def describe_steps(self, preprocessing: InputPreprocessing) -> list[dict[str, Any]]:
        """Return the steps of the transform."""
        return describe_signal_steps(cast("SignalPreprocessing", preprocessing))
