"""``data.signal``: the input that a network gets of signals such as sound."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.recipe.sections.base import Section

Count = Annotated[int, Field(ge=1)]


class SpectrogramSection(Section):
    """A mel spectrogram in decibels, an image of bands and frames, in place of the signal."""

    bands: Count = 64
    """Number of bands, the height of the image."""
    window: Annotated[int, Field(ge=16)] = 512
    """Samples of the Hann window of each frame."""
    hop: Count = 128
    """Samples between two frames; the width of the image is the length of the signal divided by it."""
    low: Annotated[float, Field(ge=0)] = 0.0
    """Lowest frequency in Hz."""
    high: Annotated[float, Field(gt=0)] | None = None
    """Highest frequency in Hz; by default half of the rate."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.high is not None and self.low >= self.high:
            raise ValueError(f"low: must be less than high ({self.high:g})")
        return self


class SignalSection(Section):
    """The input that a network gets of a signal; what is left out is that of the training signals."""

    rate: Count | None = None
    """Samples per second, to which signals are resampled; by default the most common rate. `arrays` have none."""
    length: Count | list[Count] | None = None
    """Number of samples, along each axis if there are several; longer signals are cropped around their centre, shorter
    ones are padded with zeros. With `data.window_overlap` it is the size of the patches of training and the windows of
    evaluation. By default that of the longest of up to 256 training signals."""
    spacing: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Distance of neighbouring voxels along each axis (depth, height, width) in mm, to which volumes are resampled; by
    default the most common one. Volumes in NumPy files have none."""
    spectrogram: SpectrogramSection | None = None
    """The network gets a spectrogram, for networks that take images. By default it gets the signal itself."""
    windows: Count | None = None
    """Number of windows of `length` samples in evaluation and prediction, evenly spaced from the beginning of a signal
    to its end, whose probabilities are averaged; 1 takes the one around its centre. For signals with one axis and
    tasks whose ground truth is a class or labels. By default 1."""
