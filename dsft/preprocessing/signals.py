"""The evaluation transform of models that take signals or their spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import InputKind
from dsft.number_format import plural
from dsft.preprocessing.input_preprocessing import InputPreprocessing


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
        window_overlap: Signals keep their size, and the network runs in windows of ``length`` that overlap by this
            fraction, 0 to below 1 (segmentation); None if it gets their centre.
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
    window_overlap: float | None = None

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
        """Return the kind and the attributes as JSON values; without windows as versions before them wrote it."""
        values = {"kind": self.kind.value, **asdict(self)}
        if self.window_overlap is None:
            del values["window_overlap"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SignalPreprocessing:
        """Create an instance from the result of :meth:`to_dict`."""
        given = {key: value for key, value in values.items() if key != "kind"}
        lists = {key: tuple(values[key]) for key in ("length", "mean", "std")}
        spectrogram = values["spectrogram"] and MelSpectrogram(**values["spectrogram"])
        spacing = tuple(values["spacing"]) if values.get("spacing") is not None else None
        return cls(**{**given, **lists, "spectrogram": spectrogram, "spacing": spacing})
