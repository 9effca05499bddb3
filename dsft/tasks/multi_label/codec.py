"""The targets of multi-label classification: multi-hot ``(images, classes)``, float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dsft.choices import TargetKind
from dsft.tasks.image_labels import ImageLabelCodec


class MultiLabelCodec(ImageLabelCodec):
    """Implements :class:`dsft.tasks.Codec`."""

    target_kind: ClassVar = TargetKind.LABELS

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return targets without any label."""
        return torch.zeros(input_shape[0], num_classes)
