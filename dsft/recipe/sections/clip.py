"""``data.clip``: the input that a network gets of videos."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.recipe.sections.base import Section

Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=8)]


class ClipSection(Section):
    """The input that a network gets of videos; what is left out is that of the published weights, or as stated here."""

    frames: Count | None = None
    """Number of frames. Training takes them at a random place of the video, evaluation in its middle; a video that is
    too short repeats its last frame. By default 16."""
    stride: Count | None = None
    """Distance between two of these frames, in frames of the video. By default 1."""
    size: Side | tuple[Side, Side] | None = None
    """Side of the square frames in pixels, or `[height, width]`; frames are resized in their own proportions and
    cropped. By default 112."""
    clips: Count | None = None
    """Number of clips of a video in evaluation and prediction, evenly spaced from its beginning to its end, whose
    probabilities are averaged; 1 takes the one in the middle. By default 1."""
