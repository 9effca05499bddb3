"""The description of the evaluation transform, used for training, evaluation, prediction and export."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from dsft.choices import InputKind
from dsft.number_format import plural

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""Numbers of the tokens behind the end of a text, outside of the vocabulary, and first in the vocabulary."""

ImageSize = int | tuple[int, int]
"""Side of square images in pixels, or height and width."""


def as_height_and_width(size: ImageSize) -> tuple[int, int]:
    """Return height and width of a size."""
    return (size, size) if isinstance(size, int) else size


class InputPreprocessing(ABC):
    """The evaluation transform of a model, for any kind of input.

    A new kind is a subclass here, with its word in :class:`dsft.choices.InputKind`, and an entry in
    :data:`dsft.data.inputs.INPUTS`.

    Attributes:
        kind: What the model takes.
        channels: Number of channels of an input.
        mean: Mean of each channel for the normalisation.
        std: Standard deviation of each channel for the normalisation.
        shared_keys: What two networks that get the same tensors must have in common.
        size_key: The key of a recipe by which the size of the input is chosen.
    """

    kind: ClassVar[InputKind]
    shared_keys: ClassVar[tuple[str, ...]]
    size_key: ClassVar[str]

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    @abstractmethod
    def size(self) -> tuple[int, ...]:
        """The sizes of the model's input along the axes after the channels."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The input in words, for messages and pages."""

    @property
    def views(self) -> int:
        """Number of inputs that are made of an example in evaluation, whose probabilities are averaged."""
        return 1

    @property
    def single(self) -> Self:
        """The same with one input for each example."""
        return self

    @property
    def arguments(self) -> Mapping[str, int]:
        """What a builder of the user's own needs to know to build a network for the input, by argument."""
        return {}

    @property
    def advice(self) -> str:
        """What to do if a network does not take the input, besides choosing another size; it starts with a space."""
        return ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, ``(channels, *size)``."""
        return (self.channels, *self.size)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other attributes."""
        own: Any = self
        changed: Self = dataclasses.replace(own, **changes)
        return changed

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values; of any kind but images with ``kind``."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create an instance from the result of :meth:`to_dict`."""


@dataclass(frozen=True)
class Preprocessing(InputPreprocessing):
    """The evaluation transform of a model that takes images.

    Attributes:
        image_size: Height and width of the model's input in pixels.
        channels: Number of image channels, 1 (grayscale) or 3 (RGB) for image files.
        mean: Mean of each channel for the normalisation, for values from 0 to 1.
        std: Standard deviation of each channel for the normalisation, for values from 0 to 1.
        interpolation: timm's name of the resampling filter, such as ``bicubic``.
        crop_pct: Side of the centre crop as a fraction of the resized image's side, 0 to 1.
        crop_mode: timm's name of the crop mode: ``center``, ``squash`` or ``border``.
    """

    kind: ClassVar = InputKind.IMAGE
    shared_keys: ClassVar = ("channels", "mean", "std")
    size_key: ClassVar = "data.image_size"

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image_size

    @property
    def description(self) -> str:
        """Height, width and channels."""
        height, width = self.image_size
        return f"{height} x {width} pixels, {plural(self.channels, 'channel')}"

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        lists = {key: tuple(values[key]) for key in ("image_size", "mean", "std")}
        return cls(**{**values, **lists})


@dataclass(frozen=True)
class MelSpectrogram:
    """A power spectrogram in bands of equal width on the mel scale, in decibels.

    Attributes:
        bands: Number of bands.
        window: Samples of the Hann window of each frame, which is also the length of its Fourier transform.
        hop: Samples between two frames.
        low: Lowest frequency, in Hz.
        high: Highest frequency, in Hz.
    """

    bands: int
    window: int
    hop: int
    low: float
    high: float

    def frames(self, length: int) -> int:
        """Return the number of frames of a signal; the first is centred on its first sample."""
        return 1 + length // self.hop


@dataclass(frozen=True)
class SignalPreprocessing(InputPreprocessing):
    """The evaluation transform of a model that takes signals, such as sound.

    A signal is resampled to ``rate``, padded with zeros or cropped around its centre to ``length``, and, with
    ``spectrogram``, replaced by its spectrogram, an image of bands and frames; then each channel is normalised.

    Attributes:
        length: Number of samples along each axis of the signal; sound has one axis.
        channels: Number of channels of the model's input.
        mean: Mean of each channel for the normalisation.
        std: Standard deviation of each channel for the normalisation.
        rate: Samples per second; None if signals have no rate, and are not resampled.
        spectrogram: The spectrogram that the model takes; None for the signal itself.
        spacing: Distance of neighbouring samples along each axis, in mm, to which volumes are resampled; None if they
            are taken as they are.
        windows: Number of windows of ``length`` samples of a signal, evenly spaced from its beginning to its end, whose
            probabilities are averaged; 1 is the one around its centre.
    """

    kind: ClassVar = InputKind.SIGNAL
    shared_keys: ClassVar = ("channels", "mean", "std", "rate", "spectrogram", "spacing")
    size_key: ClassVar = "data.signal"

    length: tuple[int, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rate: int | None = None
    spectrogram: MelSpectrogram | None = None
    spacing: tuple[float, ...] | None = None
    windows: int = 1

    @property
    def views(self) -> int:
        """The windows."""
        return self.windows

    @property
    def single(self) -> SignalPreprocessing:
        """The same with the window around the centre."""
        return self.replace(windows=1)

    @property
    def size(self) -> tuple[int, ...]:
        """The length, or bands and frames."""
        if self.spectrogram is None:
            return self.length
        return (self.spectrogram.bands, self.spectrogram.frames(self.length[0]))

    @property
    def description(self) -> str:
        """Length, rate, channels and spectrogram."""
        rate = f" at {self.rate:,} Hz" if self.rate is not None else ""
        if self.spacing is not None:
            rate = f" every {' x '.join(f'{size:g}' for size in self.spacing)} mm"
        text = f"{' x '.join(map(str, self.length))} samples{rate}, {plural(self.channels, 'channel')}"
        if self.windows > 1:
            text = f"{self.windows} windows of {text}"
        if self.spectrogram is None:
            return text
        bands, frames = self.size
        return f"{text}, as {bands} mel bands x {frames} frames"

    @property
    def advice(self) -> str:
        """Networks that take images take the spectrogram of sound."""
        if self.spectrogram is not None or self.rate is None:
            return ""
        return " A network that takes images needs data.signal.spectrogram."

    def to_dict(self) -> dict[str, Any]:
        """Return the kind and the attributes as JSON values."""
        return {"kind": self.kind.value, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SignalPreprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        given = {key: value for key, value in values.items() if key != "kind"}
        lists = {key: tuple(values[key]) for key in ("length", "mean", "std")}
        spectrogram = values["spectrogram"] and MelSpectrogram(**values["spectrogram"])
        spacing = tuple(values["spacing"]) if values.get("spacing") is not None else None
        return cls(**{**given, **lists, "spectrogram": spectrogram, "spacing": spacing})


@dataclass(frozen=True)
class ClipPreprocessing(InputPreprocessing):
    """The evaluation transform of a model that takes clips of videos, ``(channels, frames, height, width)``.

    A clip is ``frames`` frames of a video, ``stride`` frames apart and around its middle; a video that is too short
    repeats its last frame. Frames are resized so that they cover the input divided by ``crop_pct``, cropped around
    their centre, and normalised.

    Attributes:
        frames: Number of frames.
        stride: Distance between two of them, in frames of the video.
        image_size: Height and width of the model's input in pixels.
        channels: Number of channels, 1 (grayscale) or 3 (RGB).
        mean: Mean of each channel for the normalisation, for values from 0 to 1.
        std: Standard deviation of each channel for the normalisation, for values from 0 to 1.
        crop_pct: Side of the centre crop as a fraction of the resized frame's side, 0 to 1.
        clips: Number of clips of a video, evenly spaced from its beginning to its end, whose probabilities are
            averaged; 1 is the one in the middle.
    """

    kind: ClassVar = InputKind.CLIP
    shared_keys: ClassVar = ("channels", "mean", "std", "stride")
    size_key: ClassVar = "data.clip"

    frames: int
    stride: int
    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0
    clips: int = 1

    @property
    def views(self) -> int:
        """The clips."""
        return self.clips

    @property
    def single(self) -> ClipPreprocessing:
        """The same with the clip in the middle."""
        return self.replace(clips=1)

    @property
    def size(self) -> tuple[int, ...]:
        """Frames, height and width."""
        return (self.frames, *self.image_size)

    @property
    def description(self) -> str:
        """Frames, stride, height, width and channels."""
        height, width = self.image_size
        every = f", every {self.stride}" if self.stride > 1 else ""
        text = f"{self.frames} frames{every}, of {height} x {width} pixels, {plural(self.channels, 'channel')}"
        return f"{self.clips} clips of {text}" if self.clips > 1 else text

    def to_dict(self) -> dict[str, Any]:
        """Return the kind and the attributes as JSON values."""
        return {"kind": self.kind.value, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipPreprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        given = {key: value for key, value in values.items() if key != "kind"}
        return cls(**{**given, **{key: tuple(values[key]) for key in ("image_size", "mean", "std")}})


@dataclass(frozen=True)
class TextPreprocessing(InputPreprocessing):
    """The evaluation transform of a model that takes texts, ``(length,)`` as numbers of tokens, int64.

    A text is divided into tokens, see :func:`dsft.data.text.tokenize`. The tokens of the vocabulary have the numbers
    2, 3, ..., all others 1; texts are cut off after ``length`` tokens, or padded with 0 at the end.

    Attributes:
        length: Number of tokens.
        words: The vocabulary, in the order of the numbers.
    """

    kind: ClassVar = InputKind.TEXT
    shared_keys: ClassVar = ("words",)
    size_key: ClassVar = "data.text"

    length: int
    words: tuple[str, ...]
    channels: int = field(default=1, init=False)
    mean: tuple[float, ...] = field(default=(), init=False)
    std: tuple[float, ...] = field(default=(), init=False)

    @property
    def size(self) -> tuple[int, ...]:
        """The length."""
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, ``(length,)``."""
        return (self.length,)

    @property
    def num_tokens(self) -> int:
        """Number of different numbers of tokens."""
        return FIRST_WORD + len(self.words)

    @property
    def arguments(self) -> Mapping[str, int]:
        """The number of rows of an embedding, ``num_tokens``."""
        return {"num_tokens": self.num_tokens}

    @property
    def description(self) -> str:
        """Length and size of the vocabulary."""
        return f"{self.length} tokens, vocabulary of {plural(len(self.words), 'word')}"

    def to_dict(self) -> dict[str, Any]:
        """Return kind, length and vocabulary as JSON values."""
        return {"kind": self.kind.value, "length": self.length, "words": list(self.words)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextPreprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        return cls(values["length"], tuple(values["words"]))


_KINDS: Mapping[InputKind, type[InputPreprocessing]] = {
    kind.kind: kind for kind in (Preprocessing, SignalPreprocessing, ClipPreprocessing, TextPreprocessing)
}


def preprocessing_type(values: Mapping[str, Any]) -> type[InputPreprocessing]:
    """Return the class of the evaluation transform that JSON values describe; without ``kind`` that of images.

    Raises:
        ValueError: The kind is unknown.
    """
    return _KINDS[InputKind(values.get("kind", InputKind.IMAGE))]


def read_preprocessing(values: Mapping[str, Any]) -> InputPreprocessing:
    """Create the evaluation transform that :meth:`InputPreprocessing.to_dict` returned.

    Raises:
        KeyError, TypeError, ValueError: ``values`` is no evaluation transform.
    """
    return preprocessing_type(values).from_dict(values)
