"""The loss of a batch, as the output of a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsft.training.distillation.distiller import Distiller
from dsft.training.objective import label_loss
from dsft.training.setup import TrainingSetup


class StepLoss(nn.Module):
    """Computes the loss of a batch from the labels, and from the teacher if there is one.

    It is a module so that ``DistributedDataParallel`` can wrap it, with the network as its child.

    Args:
        setup: The network, its teacher and the hyperparameters; both networks are on the device.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        super().__init__()
        settings, compute = setup.settings, setup.compute
        self.network = torch.compile(setup.module) if settings.compile else setup.module
        self.anchor = nn.Parameter(torch.zeros((), device=compute.device))
        self._settings = settings
        self._compute = compute
        weights = settings.class_weights
        self._class_weights = torch.tensor(weights, device=compute.device) if weights is not None else None
        self._distiller: Distiller | None = None
        if setup.teacher is not None and settings.distill is not None:
            self._distiller = Distiller(setup.module, setup.teacher, settings.distill, settings.task)

    def forward(self, images: Tensor | None, targets: Tensor | None) -> Tensor:
        """Return the mean loss of the images, a scalar in nats.

        Args:
            images: Model inputs ``(batch, channels, height, width)``, on any device; None in a process without images.
            targets: Targets of the task, on any device; None if the images are placeholders.

        Returns:
            Without images a zero that depends on :attr:`anchor` alone: its backward pass starts the gradient exchange,
            and no parameter of the network counts as used. With placeholders a zero that depends on their outputs.
        """
        if images is None:
            return self.anchor * 0.0
        images, codec = self._compute.place(images), self._settings.task.codec
        with self._compute.autocast():
            if targets is None:
                main, auxiliary = codec.split_outputs(self.network(*codec.training_inputs(images, None)))
                return torch.stack([output.sum() for output in (main, *auxiliary)]).sum() * 0.0
            return self._loss(images, targets.to(self._compute.device, non_blocking=True))

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        settings, distiller = self._settings, self._distiller
        if distiller is None:
            output = self.network(*settings.task.codec.training_inputs(images, targets))
            return label_loss(output, targets, settings.loss, self._class_weights, settings.task)
        with distiller.capture() as features:
            # A copy: a network that normalizes its input in place would change the teacher's.
            output = self.network(*settings.task.codec.training_inputs(images.clone(), targets))
        loss = label_loss(output, targets, settings.loss, self._class_weights, settings.task)
        return distiller.combine(loss, output, features, images)

    def close(self) -> None:
        """Remove the hooks from both networks."""
        if self._distiller is not None:
            self._distiller.close()
