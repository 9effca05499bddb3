"""The outputs and the targets of detection.

In evaluation mode a network returns detections ``(images, 100, 6)``: left, top, right, bottom in pixels, score and
class, in the order of decreasing scores; a class of -1 is padding. In training mode it is given the targets too, and
returns its losses ``(losses,)``. Targets are ``(images, boxes, 6)``, float32: left, top, right, bottom, class and
whether the box is a crowd, which counts neither in the loss nor in the metrics; likewise padded. Where the image does
not fill the input, a row with a class of -1 has its place in the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dsft.choices import TargetKind
from dsft.errors import ModelError

DETECTIONS = 100
"""Detections of an image, as many as COCO scores."""

NO_BOX = -1.0
"""The class of padding."""


class DetectionCodec:
    """Implements :class:`dsft.tasks.Codec`."""

    target_kind: ClassVar = TargetKind.BOXES
    output_name: ClassVar = "detections"
    input_defaults: ClassVar[Mapping[str, Any]] = {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"}

    def training_inputs(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return images and targets, since the network computes its losses itself."""
        return (images, self._placeholder(len(images)).to(images.device) if targets is None else targets)

    def split_outputs(self, output: object) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return detections ``(batch, 100, 6)`` or losses ``(losses,)``; there are no auxiliary heads."""
        if isinstance(output, Tensor) and output.dim() in (1, 3):
            return output, ()
        found = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            "output of the model: a detector must return detections (batch, 100, 6), and losses (losses,) in training "
            f"mode, found {found}. Let model.builder return a detection network of torchvision, such as "
            "torchvision.models.detection.FCOS."
        )

    def output_shape(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, ...]:
        """Return ``(batch, 100, 6)``."""
        del num_classes
        return (input_shape[0], DETECTIONS, 6)

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return one box of the first class around the whole of each image."""
        del num_classes
        height, width = input_shape[-2:]
        return torch.tensor([0.0, 0.0, width, height, 0.0, 0.0]).repeat(input_shape[0], 1, 1)

    def _placeholder(self, images: int) -> Tensor:
        return torch.full((images, 1, 6), NO_BOX)
