"""The outputs of segmentation, and its targets: class indices ``(images, height, width)``, int64.

Of signals and volumes, which have one or three axes in place of height and width, they have these axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dsft.choices import TargetKind
from dsft.tasks.outputs import OutputForm, split_outputs

_FORM = OutputForm("a segmentation network", "logits", "logits (batch, classes, height, width)", (3, 4, 5))


class SegmentationCodec:
    """Implements :class:`dsft.tasks.Codec`."""

    target_kind: ClassVar = TargetKind.MASK
    output_name: ClassVar = "pixel_logits"
    input_defaults: ClassVar[Mapping[str, Any]] = {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"}

    def training_inputs(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the images."""
        del targets
        return (images,)

    def split_outputs(self, output: object) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return logits ``(batch, classes, height, width)``, and those of auxiliary heads."""
        return split_outputs(output, _FORM)

    def output_shape(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, ...]:
        """Return ``(batch, classes, height, width)``: logits have the size of the image."""
        return (input_shape[0], num_classes, *input_shape[2:])

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return class indices ``(batch, height, width)``."""
        del num_classes
        return torch.zeros(input_shape[0], *input_shape[2:], dtype=torch.int64)
