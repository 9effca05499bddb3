"""What the recipe and the data determine of a network's input, for each kind of input.

A new kind of input is a function for its augmentation and one for its evaluation transform, and one entry in
:data:`INPUT_RULES`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dsft.assembly.clip_inputs import ClipData, augment_clips
from dsft.assembly.examples import channel_moments, sample_examples
from dsft.choices import InputKind
from dsft.data import (
    Degradation,
    JointAugmentation,
    JointTransform,
    Split,
    Transform,
    count_channels,
    joint_transform,
    training_transform,
)
from dsft.data.signal_masks import SignalMaskTransform
from dsft.data.signal_transforms import (
    NO_AUGMENTATION,
    SignalAugmentation,
    SignalTransform,
    resample,
    resample_volume,
)
from dsft.data.sound import Signal
from dsft.errors import DataError, ModelError, RecipeError
from dsft.preprocessing import ClipPreprocessing, InputPreprocessing, MelSpectrogram, Preprocessing, SignalPreprocessing
from dsft.recipe.sections import AugmentSection, ClipSection, DataSection, SignalSection

SAMPLE = 256
"""Number of training signals that determine the input of a network."""


class DataInput(Protocol):
    """Determines the input of a network from a data set."""

    @property
    def kind(self) -> InputKind:
        """What the examples are."""
        ...

    def fit(self, channels: int | None) -> InputPreprocessing:
        """Return the evaluation transform for a network that the data have to tell it.

        Args:
            channels: Input channels of the network; None for those of the data.

        Raises:
            DataError: No training example can be read, or the examples have not what the recipe asks for.
        """
        ...

    def adapt(self, known: InputPreprocessing, name: str) -> InputPreprocessing:
        """Return the evaluation transform of a network that has one, with what the recipe changes.

        Args:
            known: The evaluation transform of the network's weights.
            name: Name of the network in messages.

        Raises:
            ModelError: The network takes another kind of input.
            RecipeError: The recipe changes what the weights depend on.
        """
        ...


@dataclass(frozen=True)
class InputRules:
    """What the sections of a recipe mean for a kind of input.

    Attributes:
        augment: Returns the transform of training examples.
        join: Returns the transform of examples together with their ground truth, where that has places in them; without
            an augmentation, that of evaluation.
        from_data: Returns what determines the input of networks from the data; None if networks state it.
    """

    augment: Callable[[AugmentSection, Any], Transform]
    join: Callable[[Split, DataSection, Any, AugmentSection | None, bool], JointTransform]
    from_data: Callable[[DataSection, Split], DataInput] | None = None


@dataclass(frozen=True)
class SignalData:
    """The input that a data set of signals determines.

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

    def fit(self, channels: int | None) -> SignalPreprocessing:
        """See :meth:`DataInput.fit`; mean and standard deviation are those of a sample of the training signals."""
        signals, channels = self._sample(), channels or count_channels(self.train)
        rate = self._rate(signals)
        spacing = self._spacing(signals)
        length, zeros, ones = self._length(signals, rate, spacing), (0.0,) * channels, (1.0,) * channels
        plain = SignalPreprocessing(length, channels, zeros, ones, rate, self._spectrogram(rate), spacing)
        self._require_window(plain)
        mean, std = channel_moments([SignalTransform(plain)(signal) for signal in signals])
        return dataclasses.replace(plain, mean=mean, std=std)

    def adapt(self, known: InputPreprocessing, name: str) -> SignalPreprocessing:
        """See :meth:`DataInput.adapt`; only the length can be changed."""
        if not isinstance(known, SignalPreprocessing):
            raise ModelError(f"model {name}: takes {known.kind}s, and the data are signals. Choose another network.")
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
        return adapted

    def _sample(self) -> list[Signal]:
        return sample_examples(self.train, SAMPLE)

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


def data_input(section: DataSection, train: Split) -> DataInput | None:
    """Return what determines the input of networks from the data; None if networks state it."""
    from_data = INPUT_RULES[train.input_kind].from_data
    return from_data(section, train) if from_data is not None else None


def augmenting_transform(augment: AugmentSection, preprocessing: InputPreprocessing) -> Transform:
    """Return the transform of the training examples.

    Raises:
        RecipeError: timm cannot parse the policy of ``auto_augment``, or ignores ``color_jitter`` beside it.
    """
    return INPUT_RULES[preprocessing.kind].augment(augment, preprocessing)


def require_kind(split: Split, preprocessing: InputPreprocessing) -> None:
    """Check that a network takes what the examples of a split are.

    Raises:
        DataError: It takes another kind of input.
    """
    if split.input_kind is not preprocessing.kind:
        raise DataError(
            f"data: {split.source.origin!r} has {split.input_kind}s, and the network takes {preprocessing.kind}s. "
            "Choose other data, or another network."
        )


def as_images(preprocessing: InputPreprocessing) -> Preprocessing:
    """Return the evaluation transform of a network that takes images.

    Raises:
        ModelError: It takes another kind of input.
    """
    if not isinstance(preprocessing, Preprocessing):
        raise ModelError(
            f"model: the task needs a network that takes images, found one that takes {preprocessing.kind}s."
        )
    return preprocessing


def _augment_images(augment: AugmentSection, preprocessing: Preprocessing) -> Transform:
    return training_transform(
        preprocessing,
        scale=augment.scale,
        hflip=augment.hflip,
        auto_augment=augment.auto_augment,
        color_jitter=augment.color_jitter,
        erase=augment.erase,
    )


def _join_images(
    split: Split, data: DataSection, preprocessing: Preprocessing, augment: AugmentSection | None, full_size: bool
) -> JointTransform:
    together = None
    if augment is not None:
        together = JointAugmentation(augment.scale, augment.hflip, augment.color_jitter or 0.0)
    degradation = Degradation(data.degrade.noise, data.degrade.downscale) if data.degrade is not None else None
    return joint_transform(
        split.target_kind,
        preprocessing,
        degradation,
        augmentation=together,
        full_size=full_size,
        most_boxes=split.most_boxes,
    )


def _join_signals(
    split: Split, data: DataSection, preprocessing: SignalPreprocessing, augment: AugmentSection | None, full_size: bool
) -> JointTransform:
    del split, data, full_size
    return SignalMaskTransform(preprocessing, _signal_augmentation(augment) if augment is not None else NO_AUGMENTATION)


def _join_clips(
    split: Split, data: DataSection, preprocessing: ClipPreprocessing, augment: AugmentSection | None, full_size: bool
) -> JointTransform:
    del data, preprocessing, augment, full_size
    raise ModelError(
        f"model: the task needs {split.target_kind.description}, and a network of clips finds classes only."
    )


def _augment_signals(augment: AugmentSection, preprocessing: SignalPreprocessing) -> Transform:
    return SignalTransform(preprocessing, _signal_augmentation(augment))


def _signal_augmentation(augment: AugmentSection) -> SignalAugmentation:
    return SignalAugmentation(augment.shift, augment.gain, augment.noise, augment.time_mask, augment.frequency_mask)


def _resampled(signal: Signal, rate: int | None, spacing: tuple[float, ...] | None) -> NDArray[np.float32]:
    if rate is not None and signal.rate is not None:
        return resample(signal.values, signal.rate, rate)
    if spacing is not None and signal.spacing is not None:
        return resample_volume(signal.values, signal.spacing, spacing)
    return signal.values


def _as_tuple(length: int | list[int] | None) -> tuple[int, ...] | None:
    return (length,) if isinstance(length, int) else tuple(length) if length is not None else None


INPUT_RULES: Mapping[InputKind, InputRules] = {
    InputKind.IMAGE: InputRules(_augment_images, _join_images),
    InputKind.SIGNAL: InputRules(
        _augment_signals, _join_signals, lambda section, train: SignalData(section.signal or SignalSection(), train)
    ),
    InputKind.CLIP: InputRules(
        augment_clips, _join_clips, lambda section, train: ClipData(section.clip or ClipSection(), train)
    ),
}
