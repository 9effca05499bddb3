"""The evaluation transform of models that take clips of videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import InputKind
from dsft.number_format import plural
from dsft.preprocessing.input_preprocessing import InputPreprocessing


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
