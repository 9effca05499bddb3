"""Transforms of signals for evaluation and, with augmentation, for training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.data.sound import Signal
from dsft.data.spectrogram import mel_spectrogram
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
        hflip: Probability of a flip of the last axis, 0 to 1, for signals with several axes.
    """

    shift: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    time_mask: float = 0.0
    frequency_mask: float = 0.0
    hflip: float = 0.0


NO_AUGMENTATION = SignalAugmentation()


class Extent(Enum):
    """What of a signal the network gets: its centre, a random part of the input's length, or all of it."""

    CENTRE = auto()
    PATCH = auto()
    WHOLE = auto()


@dataclass(frozen=True)
class Placement:
    """How the samples of a signal become those of an input.

    Attributes:
        length: Size of the input along each axis after the channels.
        shifts: See :func:`fit_length`.
        is_flipped: The last axis is reversed.
    """

    length: tuple[int, ...]
    shifts: tuple[int, ...]
    is_flipped: bool = False

    def place(self, values: NDArray[Any], fill: int = 0) -> NDArray[Any]:
        """Return values ``(channels, *size)`` as ``(channels, *length)``, a copy.

        Args:
            values: The samples, or their classes.
            fill: What is padded.
        """
        fitted = fit_length(values, self.length, self.shifts, fill)
        # A copy, since numpy takes a reversed axis of one sample for contiguous, and torch does not.
        return fitted[..., ::-1].copy() if self.is_flipped else fitted


@dataclass(frozen=True)
class SignalTransform:
    """Converts a signal to the input of a network; picklable, as worker processes need it.

    Args:
        preprocessing: The input that the network expects.
        augmentation: Random augmentation, from the global random generator of torch.
        extent: The part of the signal; a random one is drawn from this generator too. Of the whole signal, axes that
            are shorter than the network's input are padded to its length.
    """

    preprocessing: SignalPreprocessing
    augmentation: SignalAugmentation = NO_AUGMENTATION
    extent: Extent = Extent.CENTRE

    def __call__(self, signal: Signal) -> Tensor:
        """Return ``(channels, *size)``, float32, of several windows with these as the first axis.

        Raises:
            DataError: The signal has another number of axes, channels that cannot be mixed, or no rate.
        """
        samples = self.samples(signal)
        if self.views == 1:
            return self.finish(samples, self.placement(samples.shape[1:]))
        (length,), size = self.preprocessing.length, samples.shape[-1]
        starts = [max(size - length, 0) * number // (self.views - 1) for number in range(self.views)]
        return torch.stack([self.finish(samples, Placement((length,), (_shift(size, length, at),))) for at in starts])

    @property
    def views(self) -> int:
        """Number of windows of a signal."""
        return self.preprocessing.windows

    def placement(self, size: Sequence[int]) -> Placement:
        """Return where the samples of a signal go, with what is drawn for it.

        Args:
            size: Number of samples along each axis after the channels.
        """
        length, given = self.preprocessing.length, self.augmentation
        shifts = [round(_uniform(-given.shift, given.shift) * side) if given.shift else 0 for side in length]
        if self.extent is Extent.WHOLE:
            length = tuple(map(max, size, length))
        if self.extent is Extent.PATCH:
            shifts = [
                shift + _shift(own, side, int(torch.randint(max(own - side, 0) + 1, ())))
                for shift, own, side in zip(shifts, size, length, strict=True)
            ]
        return Placement(length, tuple(shifts), bool(given.hflip) and _uniform(0, 1) < given.hflip)

    def finish(self, samples: NDArray[np.float32], placement: Placement) -> Tensor:
        """Return the input for samples, see :meth:`samples`, that are placed in it."""
        given, expected = self.augmentation, self.preprocessing
        values = torch.from_numpy(placement.place(samples))
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

    def samples(self, signal: Signal) -> NDArray[np.float32]:
        """Return a signal at the network's rate or spacing, with its channels or a single one.

        Raises:
            DataError: See :meth:`__call__`.
        """
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


def _shift(size: int, length: int, start: int) -> int:
    """Return the shift with which an input of a length begins at a sample of an axis; 0 if the axis is shorter."""
    # A shift of -centred would begin with the first sample.
    centred = int((length - size) / 2)
    return -start - centred if size > length else 0


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
