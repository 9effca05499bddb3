"""The targets of multi-label classification: multi-hot ``(images, classes)``, float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dsft.choices import TargetKind
from dsft.tasks.outputs import split_outputs


class MultiLabelCodec:
    """Implements :class:`dsft.tasks.Codec`."""

    target_kind: ClassVar = TargetKind.LABELS
    output_name: ClassVar = "logits"
    input_defaults: ClassVar[Mapping[str, Any]] = {}

    def split_outputs(self, output: object) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See :func:`dsft.tasks.split_outputs`."""
        return split_outputs(output)

    def output_shape(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, ...]:
        """Return ``(batch, classes)``."""
        return (input_shape[0], num_classes)

    def placeholder_targets(self, input_shape: Sequence[int], num_classes: int) -> Tensor:
        """Return targets without any label."""
        return torch.zeros(input_shape[0], num_classes)
