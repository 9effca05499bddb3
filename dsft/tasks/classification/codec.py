"""The targets of classification: class indices ``(images,)``, int64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dsft.choices import TargetKind
from dsft.tasks.image_labels import ImageLabelCodec


class ClassificationCodec(ImageLabelCodec):
    """Implements :class:`dsft.tasks.Codec`."""

    target_kind: ClassVar = TargetKind.CLASS

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return class indices ``(batch,)``."""
        return torch.arange(input_shape[0]) % num_classes
