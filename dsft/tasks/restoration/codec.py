"""The outputs and the targets of restoration: images ``(images, channels, height, width)``, float32, 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dsft.choices import TargetKind
from dsft.tasks.outputs import OutputForm, split_outputs

_FORM = OutputForm("a restoration network", "image", "images (batch, channels, height, width)", (4,))


class RestorationCodec:
    """Implements :class:`dsft.tasks.Codec`."""

    target_kind: ClassVar = TargetKind.IMAGE
    output_name: ClassVar = "restored"
    input_defaults: ClassVar[Mapping[str, Any]] = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "crop_pct": 1.0}

    def training_inputs(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the images."""
        del targets
        return (images,)

    def split_outputs(self, output: object) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return images ``(batch, channels, height, width)``, and those of auxiliary heads."""
        return split_outputs(output, _FORM)

    def output_shape(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, ...]:
        """Return ``(batch, channels, height, width)``: the restored image has the size of the input."""
        return (input_shape[0], num_classes, *input_shape[2:])

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return black images."""
        return torch.zeros(input_shape[0], num_classes, *input_shape[2:])
