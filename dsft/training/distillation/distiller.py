"""The distillation loss of a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dsft.measure import with_raw_outputs
from dsft.tasks import Task
from dsft.training.distillation.feature_hooks import FeatureHooks
from dsft.training.distillation.losses import add_feature_loss, blend_logits_loss
from dsft.training.settings import DistillSettings


class Distiller:
    """Runs the teacher, and adds the losses on its logits and feature maps to that on the labels.

    Args:
        student: The network that is trained.
        teacher: The network to distill from, in evaluation mode.
        settings: Weights, temperature, and the layers that are compared.
        task: Defines the loss against the teacher's logits.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, settings: DistillSettings, task: Task) -> None:
        # The outputs of a detector are not distilled, so the teacher need not select boxes.
        self._teacher = with_raw_outputs(teacher)
        self._settings = settings
        self._task = task
        self._student_hooks = FeatureHooks(student, settings.layers)
        self._teacher_hooks = FeatureHooks(teacher, settings.layers)

    @contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Yield a list that receives the student's feature maps while it runs in the context."""
        with self._student_hooks.capture() as features:
            yield features

    def combine(self, labels: Tensor, output: object, features: list[Tensor], images: Tensor) -> Tensor:
        """Return the loss of a batch: labels, the teacher's logits and its feature maps.

        Args:
            labels: The loss against the labels, a scalar in nats.
            output: What the student returned.
            features: What :meth:`capture` yielded during the student's forward pass.
            images: The student's inputs, ``(batch, channels, height, width)``.

        Raises:
            ModelError: The teacher's logits or feature maps do not match the student's.
        """
        with torch.no_grad(), self._teacher_hooks.capture() as teacher_features:
            teacher_output = self._teacher(images)
        loss = blend_logits_loss(labels, output, teacher_output, self._settings, self._task)
        return add_feature_loss(loss, features, teacher_features, self._settings)

    def close(self) -> None:
        """Remove the hooks from both networks."""
        self._student_hooks.remove()
        self._teacher_hooks.remove()
