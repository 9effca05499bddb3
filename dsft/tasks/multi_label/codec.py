"""The targets of multi-label classification: multi-hot ``(images, classes)``, float32."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor


class MultiLabelCodec:
    """Implements :class:`dsft.tasks.Codec`."""

    has_label_sets: ClassVar = True

    def placeholder_targets(self, images: int, num_classes: int) -> Tensor:
        """Return targets without any label."""
        return torch.zeros(images, num_classes)
