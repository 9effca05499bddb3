"""Transforms of signals for evaluation and, with augmentation, for training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.data.sound import Signal
from dsft.data.spectrogram import FLOOR, mel_spectrogram
from dsft.errors import DataError
from dsft.preprocessing import SignalPreprocessing


@dataclass(frozen=True)
class SignalAugmentation:
    """Random augmentation of signals; every value of 0 disables its kind.

    Attributes:
        shift: Largest shift along each axis, as a fraction of the input's length.
        gain: Largest amplification or attenuation, in dB.
        noise: Largest standard deviation of Gaussian noise, as a fraction of the signal's root mean square.
        time_mask: Longest part of the last axis that is replaced by the mean, as a fraction of its length (Park et al.
            2019, "SpecAugment").
        frequency_mask: The same for the bands of a spectrogram.
    """

    shift: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    time_mask: float = 0.0
    frequency_mask: float = 0.0


NO_AUGMENTATION = SignalAugmentation()


@dataclass(frozen=True)
class SignalTransform:
    """Converts a signal to the input of a network; picklable, as worker processes need it.

    Args:
        preprocessing: The input that the network expects.
        augmentation: Random augmentation, from the global random generator of torch.
    """

    preprocessing: SignalPreprocessing
    augmentation: SignalAugmentation = NO_AUGMENTATION

    def __call__(self, signal: Signal) -> Tensor:
        """Return ``(channels, *size)``, float32, of several windows with these as the first axis.

        Raises:
            DataError: The signal has another number of axes, channels that cannot be mixed, or no rate.
        """
        if self.views == 1:
            return self.apply(signal, self.draw_shifts())
        samples = self._samples(signal)
        (length,), size = self.preprocessing.length, samples.shape[-1]
        free, centred = max(size - length, 0), int((length - size) / 2)
        starts = [free * number // (self.views - 1) for number in range(self.views)]
        # A shift of -centred would begin with the first sample.
        shifts = [-start - centred if free else 0 for start in starts]
        return torch.stack([self._finish(samples, [shift]) for shift in shifts])

    @property
    def views(self) -> int:
        """Number of windows of a signal."""
        return self.preprocessing.windows

    def draw_shifts(self) -> list[int]:
        """Draw how far the content of each axis is moved."""
        most = self.augmentation.shift
        return [round(_uniform(-most, most) * size) if most else 0 for size in self.preprocessing.length]

    def apply(self, signal: Signal, shifts: Sequence[int]) -> Tensor:
        """Transform a signal with given shifts; see :meth:`__call__`."""
        return self._finish(self._samples(signal), shifts)

    def _finish(self, samples: NDArray[np.float32], shifts: Sequence[int]) -> Tensor:
        given, expected = self.augmentation, self.preprocessing
        values = torch.from_numpy(fit_length(samples, expected.length, shifts))
        if given.gain:
            values = values * 10 ** (_uniform(-given.gain, given.gain) / 20)
        if given.noise:
            level = _uniform(0, given.noise) * float(values.square().mean().sqrt())
            values = values + level * torch.randn(values.shape)
        if expected.spectrogram is not None and expected.rate is not None:
            values = mel_spectrogram(values, expected.rate, expected.spectrogram)
        # One channel is repeated here, so that its spectrogram is computed once.
        values = values.expand(expected.channels, *values.shape[1:])
        shape = (-1, *(1,) * (values.dim() - 1))
        values = (values - torch.tensor(expected.mean).reshape(shape)) / torch.tensor(expected.std).reshape(shape)
        values = _masked(values, -1, given.time_mask)
        return _masked(values, -2, given.frequency_mask) if expected.spectrogram is not None else values

    def _samples(self, signal: Signal) -> NDArray[np.float32]:
        """Return the signal at the network's rate, with its channels or a single one."""
        expected, values = self.preprocessing, signal.values
        if values.ndim != 1 + len(expected.length):
            raise DataError(
                f"a signal must have {1 + len(expected.length)} axes, channels first, as the model's input has, found "
                f"the shape {values.shape}."
            )
        if expected.rate is not None:
            if signal.rate is None:
                raise DataError(f"the model takes signals of {expected.rate:,} Hz, found one without a rate.")
            values = resample(values, signal.rate, expected.rate)
        if expected.spacing is not None:
            if signal.spacing is None:
                raise DataError("the model takes volumes with a spacing, as NIfTI files have, found one without.")
            values = resample_volume(values, signal.spacing, expected.spacing)
        return _mixed_down(values, expected.channels)


def resample_volume(
    values: NDArray[np.float32], before: Sequence[float], after: Sequence[float]
) -> NDArray[np.float32]:
    """Return a volume ``(channels, *size)`` with another spacing, by linear interpolation.

    Args:
        values: The volume.
        before: Distance of neighbouring voxels along each axis.
        after: The new distances.

    Returns:
        ``(channels, *new_size)``; a new size is the old one times the ratio of the distances, rounded.
    """
    if tuple(before) == tuple(after):
        return values
    # Importing scipy takes a second.
    from scipy.ndimage import zoom  # type: ignore[import-untyped]

    factors = [own / other for own, other in zip(before, after, strict=True)]
    return np.stack([zoom(channel, factors, order=1, mode="nearest", grid_mode=True) for channel in values])


def resample(values: NDArray[np.float32], before: int, after: int) -> NDArray[np.float32]:
    """Return a signal ``(..., length)`` at another rate, by polyphase filtering.

    scipy's filter is the one that comes with the dependencies that dsft has anyway: zero-phase, and the same on every
    machine.

    Args:
        values: The samples.
        before: Their rate, in Hz.
        after: The new rate.

    Returns:
        ``(..., ceil(length * after / before))``.
    """
    if before == after:
        return values
    from scipy.signal import resample_poly  # type: ignore[import-untyped]

    common = math.gcd(before, after)
    resampled: Any = resample_poly(values, after // common, before // common, axis=-1)
    return np.asarray(resampled, np.float32)


def fit_length(values: NDArray[Any], length: Sequence[int], shifts: Sequence[int], fill: int = 0) -> NDArray[Any]:
    """Crop or pad a signal to a length along each axis.

    Args:
        values: ``(channels, ...)``.
        length: The new size of each axis after the channels. An axis is cropped around its centre, or padded at both
            ends; where the difference is odd, the end loses or gains the additional sample.
        shifts: How far the content of each axis moves towards its end.
        fill: What is padded.

    Returns:
        ``(channels, *length)``, a copy.
    """
    fitted = np.full((len(values), *length), fill, values.dtype)
    sources, targets = [slice(None)], [slice(None)]
    for size, wanted, shift in zip(values.shape[1:], length, shifts, strict=True):
        # int truncates towards zero, so that an odd difference is at the end in both cases.
        start = int((wanted - size) / 2) + shift
        first, last = max(start, 0), min(start + size, wanted)
        targets.append(slice(first, max(first, last)))
        sources.append(slice(first - start, max(first, last) - start))
    fitted[tuple(targets)] = values[tuple(sources)]
    return fitted


def describe_signal_steps(preprocessing: SignalPreprocessing) -> list[dict[str, Any]]:
    """Return the operations from a signal to the input tensor, in order, as JSON values."""
    steps: list[dict[str, Any]] = [{"op": "decode", "dtype": "float32", "range": [-1, 1], "layout": "CL"}]
    if preprocessing.rate is not None:
        rule = "polyphase FIR filter with a Kaiser window of beta 5.0, as scipy.signal.resample_poly"
        steps.append({"op": "resample", "rate": preprocessing.rate, "filter": rule})
    if preprocessing.spacing is not None:
        rule = "linear between the centres of voxels, as scipy.ndimage.zoom with order 1, grid_mode and mode nearest"
        steps.append({"op": "resample_volume", "spacing": list(preprocessing.spacing), "rule": rule})
    steps.append({"op": "mix_channels", "to": preprocessing.channels, "rule": "mean if 1, else repeat a single one"})
    offset = "int((length - samples) / 2), truncated towards zero"
    crop: dict[str, Any] = {"op": "crop_or_pad", "length": list(preprocessing.length), "offset": offset, "fill": 0}
    if preprocessing.windows > 1:
        start = "max(samples - length, 0) * number // (windows - 1), number from 0; shorter signals as without windows"
        crop |= {
            "windows": preprocessing.windows,
            "start": start,
            "outputs": "mean of the probabilities of the windows",
        }
    steps.append(crop)
    if (mel := preprocessing.spectrogram) is not None:
        frames = {"window": "periodic Hann", "size": mel.window, "hop": mel.hop, "centred": True, "padding": "reflect"}
        bands = {"bands": mel.bands, "low": mel.low, "high": mel.high, "scale": "2595 log10(1 + f / 700)"}
        steps += [
            {"op": "power_spectrum", **frames},
            {"op": "mel_bands", **bands, "filters": "triangles of height 1"},
            {"op": "decibels", "rule": "10 log10(max(power, floor))", "floor": FLOOR},
        ]
    steps.append({"op": "normalize", "mean": list(preprocessing.mean), "std": list(preprocessing.std)})
    return steps


def _mixed_down(values: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return the given number of channels: their mean if one is wanted; a single one is repeated later."""
    if channels == 1:
        mean: NDArray[np.float32] = values.mean(axis=0, keepdims=True)
        return mean
    if len(values) not in (1, channels):
        raise DataError(
            f"a signal must have 1 or {channels} channels, as the model's input has, found {len(values)}. Set "
            "model.in_chans=1 to train on the mean of the channels."
        )
    return values


def _masked(values: Tensor, axis: int, most: float) -> Tensor:
    """Set a random part of an axis to zero, which is the mean of the training signals."""
    if not most:
        return values
    size = values.shape[axis]
    width = round(_uniform(0, most) * size)
    start = round(_uniform(0, 1) * (size - width))
    masked = values.clone()
    masked.narrow(axis, start, width).zero_()
    return masked


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
