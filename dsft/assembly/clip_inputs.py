"""The input that a data set of videos determines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dsft.assembly.examples import channel_moments, sample_examples
from dsft.choices import InputKind
from dsft.data import Split, Transform, count_channels
from dsft.data.clip_transforms import ClipAugmentation, ClipTransform
from dsft.errors import DataError, ModelError
from dsft.preprocessing import ClipPreprocessing, InputPreprocessing, as_height_and_width
from dsft.recipe.sections import AugmentSection, ClipSection

_SAMPLE = 64
"""Number of training clips that determine mean and standard deviation."""

_FRAMES, _SIDE = 16, 112


@dataclass(frozen=True)
class ClipData:
    """Implements :class:`dsft.assembly.inputs.DataInput` for videos.

    Attributes:
        section: What the recipe says of it.
        train: The training clips.
    """

    section: ClipSection
    train: Split

    @property
    def kind(self) -> InputKind:
        """Clips."""
        return InputKind.CLIP

    @property
    def arguments(self) -> Mapping[str, int]:
        """Nothing: a network determines its channels itself."""
        return {}

    def fit(self, channels: int | None) -> ClipPreprocessing:
        """See :meth:`DataInput.fit`; mean and standard deviation are those of a sample of the training clips."""
        count = channels or count_channels(self.train)
        given, size = self.section, as_height_and_width(self.section.size or _SIDE)
        plain = ClipPreprocessing(
            given.frames or _FRAMES, given.stride or 1, size, count, (0.0,) * count, (1.0,) * count
        )
        transform, inputs = ClipTransform(plain), list[Tensor]()
        for clip in sample_examples(self.train, _SAMPLE):
            with contextlib.suppress(DataError):  # frames are decoded only here; the loader handles unreadable ones
                inputs.append(transform(clip))
        if not inputs:
            transform(self.train.source.read(self.train.indices[0]))
        mean, std = channel_moments(inputs)
        return dataclasses.replace(plain, mean=mean, std=std, clips=given.clips or 1)

    def adapt(self, known: InputPreprocessing, name: str) -> ClipPreprocessing:
        """See :meth:`DataInput.adapt`; the normalisation stays that of the weights."""
        if not isinstance(known, ClipPreprocessing):
            raise ModelError(
                f"model {name}: takes {known.kind.plural}, and the data are clips. Choose another network."
            )
        given = self.section
        size = as_height_and_width(given.size) if given.size is not None else known.image_size
        return dataclasses.replace(
            known,
            frames=given.frames or known.frames,
            stride=given.stride or known.stride,
            image_size=size,
            clips=given.clips or known.clips,
        )


def augment_clips(augment: AugmentSection, preprocessing: ClipPreprocessing) -> Transform:
    """Return the transform of training clips."""
    given = ClipAugmentation(augment.scale, augment.hflip, augment.color_jitter or 0.0)
    return ClipTransform(preprocessing, given)
