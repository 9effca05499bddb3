"""The exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dsft.training.settings import EmaSettings


class MovingAverage:
    """A copy of a network whose weights are the moving average of the trained ones.

    Averaged are parameters and floating-point buffers, so that BatchNorm's statistics go with its weights.
    It does what timm's ``ModelEmaV3`` does and counts a tensor under two names once: timm averages a shared
    module twice a step, with the square of the decay.

    Args:
        module: The network, on its device and converted already.
        settings: The decay.

    Attributes:
        module: The averaged copy, in evaluation mode; it takes no gradient.
    """

    def __init__(self, module: nn.Module, settings: EmaSettings) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._settings = settings

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights after a step, which is counted from 0."""
        weight = 1 - decay_at(step, self._settings)
        for average, current in zip(_tensors(self.module), _tensors(module), strict=True):
            if average.is_floating_point():
                average.lerp_(current, weight)
            else:
                average.copy_(current)


def decay_at(step: int, settings: EmaSettings) -> float:
    """Return the weight of the past after a step, counted from 0.

    The first step's weights are taken as they are. With warm-up the decay is
    ``min(decay, 1 - (1 + step)^(-2/3))``, as in timm's ``ModelEmaV3`` (after K. Crowson).
    """
    if step == 0:
        return 0.0
    return min(settings.decay, 1 - (1 + step) ** (-2 / 3)) if settings.warmup else settings.decay


def _tensors(module: nn.Module) -> list[Tensor]:
    """List parameters and buffers, a shared one once."""
    return [*module.parameters(), *module.buffers()]
