"""The input that a data set of signals determines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsft.assembly.examples import channel_moments, sample_examples
from dsft.choices import InputKind, TargetKind
from dsft.data import JointTransform, Split, Transform, count_channels
from dsft.data.signal_masks import SignalMaskTransform
from dsft.data.signal_transforms import (
    NO_AUGMENTATION,
    Extent,
    SignalAugmentation,
    SignalTransform,
    resample,
    resample_volume,
)
from dsft.data.sound import Signal
from dsft.errors import DataError, ModelError, RecipeError
from dsft.preprocessing import InputPreprocessing, MelSpectrogram, SignalPreprocessing
from dsft.recipe.sections import AugmentSection, DataSection, SignalSection

_SAMPLE = 256
"""Number of training signals that determine the input of a network."""

_LEAST_SAMPLE, _SAMPLED_VALUES = 8, 2**28
"""That number for signals so large, such as volumes, that they would not fit into memory: those with this many values
in all, 1 GiB, but at least so many."""

_WINDOW_OVERLAP = 0.25
"""The overlap of windows in volumes of files, whose sizes differ, unless the recipe or the weights state another."""


@dataclass(frozen=True)
class SignalData:
    """Implements :class:`dsft.assembly.inputs.DataInput` for signals.

    Attributes:
        section: What the recipe says of it.
        train: The training signals.
    """

    section: SignalSection
    train: Split

    @property
    def kind(self) -> InputKind:
        """Signals."""
        return InputKind.SIGNAL

    @property
    def arguments(self) -> Mapping[str, int]:
        """Nothing: a network determines its channels itself."""
        return {}

    def fit(self, channels: int | None) -> SignalPreprocessing:
        """See :meth:`DataInput.fit`; mean and standard deviation are those of a sample of the training signals."""
        signals, channels = self._sample(), channels or count_channels(self.train)
        rate = self._rate(signals)
        spacing = self._spacing(signals)
        length, zeros, ones = self._length(signals, rate, spacing), (0.0,) * channels, (1.0,) * channels
        plain = SignalPreprocessing(length, channels, zeros, ones, rate, self._spectrogram(rate), spacing)
        self._require_window(plain)
        plain = self._with_windows(plain)
        extent = Extent.CENTRE if plain.window_overlap is None else Extent.WHOLE
        transform = SignalTransform(plain.single, extent=extent)
        mean, std = channel_moments([transform(signal) for signal in signals])
        return dataclasses.replace(plain, mean=mean, std=std)

    def adapt(self, known: InputPreprocessing, name: str) -> SignalPreprocessing:
        """See :meth:`DataInput.adapt`; only the length can be changed."""
        if not isinstance(known, SignalPreprocessing):
            raise ModelError(
                f"model {name}: takes {known.kind.plural}, and the data are signals. Choose another network."
            )
        given = self.section
        for key, own, wanted in (
            ("rate", known.rate, given.rate),
            ("spacing", known.spacing, given.spacing and tuple(given.spacing)),
            ("spectrogram", known.spectrogram, given.spectrogram and self._spectrogram(known.rate)),
        ):
            if wanted is not None and wanted != own:
                raise RecipeError(f"data.signal.{key}: the weights of {name} are for {own}, found {wanted}. Remove it.")
        adapted = dataclasses.replace(known, length=_as_tuple(given.length) or known.length)
        self._require_window(adapted)
        return self._with_windows(adapted)

    def _with_windows(self, preprocessing: SignalPreprocessing) -> SignalPreprocessing:
        windows = self.section.windows or preprocessing.windows
        if windows > 1 and len(preprocessing.length) > 1:
            raise RecipeError(
                f"data.signal.windows: needs signals with one axis, found {len(preprocessing.length)}. Remove it."
            )
        overlap, source = preprocessing.window_overlap, self.train.source
        if overlap is None and self.train.target_kind is TargetKind.MASK and not source.in_memory:
            overlap = _WINDOW_OVERLAP
        return dataclasses.replace(preprocessing, windows=windows, window_overlap=overlap)

    def _sample(self) -> list[Signal]:
        few = sample_examples(self.train, _LEAST_SAMPLE)
        fitting = _SAMPLED_VALUES // max(signal.values.size for signal in few)
        return few if fitting <= _LEAST_SAMPLE else sample_examples(self.train, min(fitting, _SAMPLE))

    def _rate(self, signals: list[Signal]) -> int | None:
        (common, _), *_ = Counter(signal.rate for signal in signals).most_common()
        if common is None and self.section.rate is not None:
            raise RecipeError(
                f"data.signal.rate: the signals of {self.train.source.origin!r} have no rate, found "
                f"{self.section.rate}. Remove it."
            )
        return self.section.rate or common

    def _spacing(self, signals: list[Signal]) -> tuple[float, ...] | None:
        (common, _), *_ = Counter(signal.spacing for signal in signals).most_common()
        given = self.section.spacing
        if given is not None and len(given) != len(common or ()):
            raise RecipeError(
                f"data.signal.spacing: must have a number for each axis of the signals, whose spacing is {common}, "
                f"found {given}."
            )
        return tuple(given) if given is not None else common

    def _length(self, signals: list[Signal], rate: int | None, spacing: tuple[float, ...] | None) -> tuple[int, ...]:
        if (given := _as_tuple(self.section.length)) is not None:
            return given
        sizes = [_resampled(signal, rate, spacing).shape[1:] for signal in signals]
        if len({len(size) for size in sizes}) > 1:
            raise DataError(
                f"data: the signals of {self.train.source.origin!r} must have the same number of axes, found "
                f"{sorted(set(sizes), key=len)[0]} and {sorted(set(sizes), key=len)[-1]}."
            )
        return tuple(map(max, zip(*sizes, strict=True)))

    def _spectrogram(self, rate: int | None) -> MelSpectrogram | None:
        given = self.section.spectrogram
        if given is None:
            return None
        if rate is None:
            raise RecipeError("data.signal.spectrogram: needs signals with a rate, such as those of source audio.")
        high = given.high or rate / 2
        if given.low >= high or high > rate / 2:
            raise RecipeError(
                f"data.signal.spectrogram: its frequencies must be between 0 and half of the rate, {rate / 2:g} Hz, "
                f"found {given.low:g} to {high:g}."
            )
        return MelSpectrogram(given.bands, given.window, given.hop, given.low, high)

    def _require_window(self, preprocessing: SignalPreprocessing) -> None:
        mel, length = preprocessing.spectrogram, preprocessing.length
        if mel is not None and (len(length) != 1 or length[0] <= mel.window // 2):
            raise RecipeError(
                f"data.signal.spectrogram.window: signals must have one axis, longer than half a window, found "
                f"{' x '.join(map(str, length))} samples and a window of {mel.window}. Use a shorter window."
            )


def augment_signals(augment: AugmentSection, preprocessing: SignalPreprocessing) -> Transform:
    """Return the transform of training signals."""
    return SignalTransform(preprocessing.single, _signal_augmentation(augment, preprocessing))


def join_signals(
    split: Split, data: DataSection, preprocessing: SignalPreprocessing, augment: AugmentSection | None, full_size: bool
) -> JointTransform:
    """Return the transform of signals together with the classes of their samples."""
    del split, data
    has_windows = preprocessing.window_overlap is not None
    if augment is None:
        extent = Extent.WHOLE if full_size and has_windows else Extent.CENTRE
        return SignalMaskTransform(preprocessing, NO_AUGMENTATION, extent)
    extent = Extent.PATCH if has_windows else Extent.CENTRE
    return SignalMaskTransform(preprocessing, _signal_augmentation(augment, preprocessing), extent)


def _signal_augmentation(augment: AugmentSection, preprocessing: SignalPreprocessing) -> SignalAugmentation:
    if augment.hflip and len(preprocessing.length) == 1:
        raise RecipeError("augment.hflip: needs signals with at least two axes, such as volumes. Remove it.")
    return SignalAugmentation(
        augment.shift, augment.gain, augment.noise, augment.time_mask, augment.frequency_mask, augment.hflip
    )


def _resampled(signal: Signal, rate: int | None, spacing: tuple[float, ...] | None) -> NDArray[np.float32]:
    if rate is not None and signal.rate is not None:
        return resample(signal.values, signal.rate, rate)
    if spacing is not None and signal.spacing is not None:
        return resample_volume(signal.values, signal.spacing, spacing)
    return signal.values


def _as_tuple(length: int | list[int] | None) -> tuple[int, ...] | None:
    return (length,) if isinstance(length, int) else tuple(length) if length is not None else None
