"""Exponential moving average (EMA) of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dsft.training.settings import EmaSettings


class MovingAverage:
    """A copy of a network whose weights are the moving average of the trained ones.

    Parameters and floating-point buffers are averaged, so that BatchNorm's statistics match its weights. This is what
    timm's ``ModelEmaV3`` does, except that a tensor with two names is averaged once: timm averages a shared module
    twice per step, which squares the decay.

    Args:
        module: The network, on its device and already converted.
        settings: The decay.

    Attributes:
        module: The averaged copy, in evaluation mode, without gradients.
    """

    def __init__(self, module: nn.Module, settings: EmaSettings) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._settings = settings

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update the average after a step, which is counted from 0."""
        weight = 1 - decay_at(step, self._settings)
        for average, current in zip(_tensors(self.module), _tensors(module), strict=True):
            if average.is_floating_point():
                average.lerp_(current, weight)
            else:
                average.copy_(current)


def decay_at(step: int, settings: EmaSettings) -> float:
    """Return the decay after a step, counted from 0.

    The first step copies the weights. With warm-up the decay is ``min(decay, 1 - (1 + step)^(-2/3))``, as in timm's
    ``ModelEmaV3`` (after K. Crowson).
    """
    if step == 0:
        return 0.0
    return min(settings.decay, 1 - (1 + step) ** (-2 / 3)) if settings.warmup else settings.decay


def _tensors(module: nn.Module) -> list[Tensor]:
    """List parameters and buffers, a shared one once."""
    return [*module.parameters(), *module.buffers()]
