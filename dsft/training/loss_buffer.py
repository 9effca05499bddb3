"""Losses of the last steps, on the device until they are read together."""

from __future__ import annotations

import torch
from torch import Tensor

from dsft.distributed.processes import Processes


class LossBuffer:
    """Collects the loss of each step without waiting for the device.

    Args:
        processes: The processes of the run, each with its part of a loss.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._losses: list[Tensor] = []
        self._images: list[int] = []

    def add(self, loss: Tensor, images: int) -> None:
        """Append this process's part of the loss of a step, a scalar, and the number of images in all processes."""
        self._losses.append(loss)
        self._images.append(images)

    def read(self) -> list[tuple[float, int]]:
        """Return and remove the losses and image counts so far, in the order of the steps; all processes call it."""
        if not self._losses:
            return []
        losses = torch.stack(self._losses).to("cpu", torch.float64)
        self._processes.all_reduce([losses])
        values = list(zip(losses.tolist(), self._images, strict=True))
        self._losses, self._images = [], []
        return values
