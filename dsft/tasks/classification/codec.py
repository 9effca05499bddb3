"""The targets of classification: class indices ``(images,)``, int64."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor


class ClassificationCodec:
    """Implements :class:`dsft.tasks.Codec`."""

    has_label_sets: ClassVar = False

    def placeholder_targets(self, images: int, num_classes: int) -> Tensor:
        """Return class indices ``(images,)``."""
        return torch.arange(images) % num_classes
