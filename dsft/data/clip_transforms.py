"""Transforms of clips for evaluation and, with augmentation, for training; built from torchvision's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2 as _typed_v2

from dsft.data.clip import Clip
from dsft.errors import DataError
from dsft.preprocessing import ClipPreprocessing

# torchvision's type hints do not export what its documentation does.
v2: Any = _typed_v2

_GREY = "0.2989 red + 0.587 green + 0.114 blue, truncated to an integer"


@dataclass(frozen=True)
class ClipAugmentation:
    """Random augmentation of clips, the same for all frames of one.

    Attributes:
        scale: Smallest and largest fraction of the frame's area in a random resized crop; None crops as in evaluation.
        hflip: Probability of a horizontal flip, 0 to 1.
        color_jitter: Strength of brightness, contrast and saturation jitter; 0 for none.
    """

    scale: tuple[float, float] | None = None
    hflip: float = 0.0
    color_jitter: float = 0.0


@dataclass(frozen=True)
class ClipTransform:
    """Converts a video to the input of a network; picklable, as worker processes need it.

    Args:
        preprocessing: The input that the network expects.
        augmentation: Random augmentation, from the global random generator of torch; it includes a random start of the
            clip. None takes the clip in the middle of the video.
    """

    preprocessing: ClipPreprocessing
    augmentation: ClipAugmentation | None = None

    def __call__(self, clip: Clip) -> Tensor:
        """Return ``(channels, frames, height, width)``, float32, of several clips with these as the first axis.

        Raises:
            DataError: A frame cannot be read, or the frames differ in size.
        """
        length, expected = len(clip), self.preprocessing
        if self.views > 1:
            return torch.stack([self._clip(clip, spaced_positions(length, expected, at)) for at in range(self.views)])
        return self._clip(clip, frame_positions(length, expected, is_random=self.augmentation is not None))

    @property
    def views(self) -> int:
        """Number of clips of a video."""
        return self.preprocessing.clips if self.augmentation is None else 1

    def _clip(self, clip: Clip, positions: list[int]) -> Tensor:
        expected, pixels = self.preprocessing, clip.read(positions)
        frames = _with_channels(torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 1), expected.channels)
        for step in self._steps(*frames.shape[-2:]):
            frames = step(frames)
        normalized: Tensor = v2.functional.normalize(frames.float() / 255, list(expected.mean), list(expected.std))
        return normalized.movedim(0, 1).contiguous()

    def _steps(self, height: int, width: int) -> list[Any]:
        expected, given = self.preprocessing, self.augmentation
        plain = [v2.Resize(resized_size(height, width, expected), antialias=True), v2.CenterCrop(expected.image_size)]
        if given is None:
            return plain
        crop = [v2.RandomResizedCrop(expected.image_size, scale=given.scale, antialias=True)] if given.scale else plain
        strength = given.color_jitter
        colours = [v2.ColorJitter(strength, strength, strength)] if strength else []
        return [*crop, v2.RandomHorizontalFlip(given.hflip), *colours]


def frame_positions(length: int, preprocessing: ClipPreprocessing, *, is_random: bool = False) -> list[int]:
    """Return the positions of a clip's frames in a video.

    Args:
        length: Number of frames of the video.
        preprocessing: Number of frames, and the distance between them.
        is_random: Draw the start from the global random generator of torch, instead of the clip in the middle.

    Returns:
        The positions in order. Where the video is too short, those behind its end are its last frame.
    """
    free = _free(length, preprocessing)
    start = int(torch.randint(free + 1, ())) if is_random else free // 2
    return _positions(length, start, preprocessing)


def spaced_positions(length: int, preprocessing: ClipPreprocessing, number: int) -> list[int]:
    """Return the positions of the frames of one of several clips, the first at the beginning, the last at the end."""
    return _positions(length, _free(length, preprocessing) * number // (preprocessing.clips - 1), preprocessing)


def _free(length: int, preprocessing: ClipPreprocessing) -> int:
    """Return the last position at which a clip may start."""
    return max(length - (preprocessing.frames - 1) * preprocessing.stride - 1, 0)


def _positions(length: int, start: int, preprocessing: ClipPreprocessing) -> list[int]:
    return [min(start + number * preprocessing.stride, length - 1) for number in range(preprocessing.frames)]


def resized_size(height: int, width: int, preprocessing: ClipPreprocessing) -> list[int]:
    """Return height and width of frames that cover the input divided by ``crop_pct``, in their own proportions."""
    (rows, columns), share = preprocessing.image_size, preprocessing.crop_pct
    factor = max(rows / share / height, columns / share / width)
    return [max(round(height * factor), rows), max(round(width * factor), columns)]


def describe_clip_steps(preprocessing: ClipPreprocessing) -> list[dict[str, Any]]:
    """Return the operations from a video to the input tensor, in order, as JSON values."""
    own = preprocessing
    free, last = "max(count - (frames - 1) * stride - 1, 0)", {"behind_the_end": "repeat the last frame"}
    chosen: dict[str, Any] = {"frames": own.frames, "stride": own.stride, "start": f"{free} // 2", **last}
    if own.clips > 1:
        start = f"{free} * number // (clips - 1), number from 0"
        chosen |= {"clips": own.clips, "start": start, "outputs": "mean of the probabilities of the clips"}
    rule = "round(side * max(height / crop_pct / own height, width / crop_pct / own width)), ties to even"
    size = list(own.image_size)
    return [
        {"op": "decode", "channels": own.channels, "bits": 8, "grey": _GREY},
        {"op": "choose_frames", **chosen},
        {"op": "resize", "size": size, "crop_pct": own.crop_pct, "sides": rule, "interpolation": "bilinear"},
        {"op": "center_crop", "size": size, "offset": "round((side - size) / 2), ties to even"},
        {"op": "to_float32", "divide_by": 255},
        {"op": "normalize", "mean": list(own.mean), "std": list(own.std)},
        {"op": "layout", "to": "NCDHW"},
    ]


def _with_channels(frames: Tensor, channels: int) -> Tensor:
    """Return frames ``(count, channels, height, width)`` in grey or in colours."""
    if channels not in (1, 3):
        raise DataError(f"a clip has 1 or 3 channels, and the model takes {channels}. Set model.in_chans to 1 or 3.")
    if frames.shape[1] == channels:
        return frames
    if channels == 3:
        return frames.expand(-1, 3, -1, -1)
    grey: Tensor = v2.functional.rgb_to_grayscale(frames)
    return grey
