"""What a layer should put out for the network to go on as the original did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

LEAST_SCALE = 1e-3
"""A norm's factor below which, relative to the largest of its layer, an output is not made to correct a sum."""


@dataclass(frozen=True)
class Sample:
    """A layer at some positions: in the original network, and in the converted one before the layer is fitted.

    Attributes:
        outputs: What the original layer puts out, ``(samples, channels)``.
        before: What that is added to, of the same shape; None where it is not.
        now: What the converted layer's output is added to.
    """

    outputs: Tensor
    before: Tensor | None = None
    now: Tensor | None = None


@dataclass(frozen=True)
class Target:
    r"""What a layer should put out, :math:`y`, where :math:`\mathrm{relu}(s y + t + u)` is what goes on.

    The shortcut :math:`u` has an error of its own in the converted network. The output that makes the sum right is
    :math:`y + (u - u') / s`. Behind a ReLU any output does for which a sum that was negative stays negative.

    Attributes:
        sample: The outputs and what they are added to.
        scale: Factor of each channel, ``(channels,)``; None for 1.
        shift: What is added after it, ``(channels,)``; None for 0.
        is_rectified: A ReLU comes last.
    """

    sample: Sample
    scale: Tensor | None = None
    shift: Tensor | None = None
    is_rectified: bool = False

    @classmethod
    def of(cls, samples: Iterable[Sample], scale: Tensor | None, shift: Tensor | None, *, is_rectified: bool) -> Self:
        """Join samples into one target."""
        parts = [(part.outputs, *_shortcuts(part)) for part in samples]
        outputs, before, now = (torch.cat(column) for column in zip(*parts, strict=True))
        return cls(Sample(outputs, before, now), scale, shift, is_rectified=is_rectified)

    def outputs(self) -> Tensor:
        """Return the outputs with which the sum is what it was, ``(samples, channels)``."""
        before, now = _shortcuts(self.sample)
        return self.sample.outputs + self._unscaled(before - now)

    def nearest(self, predicted: Tensor) -> Tensor:
        r"""Return of all outputs that do as well the ones nearest to a prediction.

        With :math:`y` and :math:`p` wanted and predicted before the ReLU, fitting to them in turn lowers the sum of
        :math:`(y - p)^2` where :math:`y > 0` and of :math:`\mathrm{relu}(p)^2` elsewhere, since the distance from
        them is at least that, and equal to it at the prediction (majorisation). The sum bounds the error behind the
        ReLU. The idea is that of Zhang et al. 2015, "Accelerating Very Deep Convolutional Networks", §3.2.
        """
        if not self.is_rectified:
            return self.outputs()
        before, now = _shortcuts(self.sample)
        wanted = self._scaled(self.sample.outputs) + before
        found = self._scaled(predicted) + now
        # Where the original is cut off, whatever is cut off is right, and what is not is right at 0.
        free = (wanted <= 0) & ~self._is_off(predicted)
        return torch.where(free, predicted - self._unscaled(found.clamp_min(0)), self.outputs())

    def relative_error(self, predicted: Tensor) -> float:
        """Return how far a prediction is from what does as well, relative to how the outputs vary."""
        spread = float((self.outputs() - self.outputs().mean(0)).norm())
        return float((predicted - self.nearest(predicted)).norm()) / spread if spread else 0.0

    def _scaled(self, outputs: Tensor) -> Tensor:
        scaled = outputs if self.scale is None else outputs * self.scale.to(outputs)
        return scaled if self.shift is None else scaled + self.shift.to(outputs)

    def _unscaled(self, difference: Tensor) -> Tensor:
        if self.scale is None:
            return difference
        return torch.where(self._is_off(difference), 0, difference / self.scale.to(difference))

    def _is_off(self, outputs: Tensor) -> Tensor:
        """Whether the norm all but switches a channel off, so that its output can correct nothing."""
        if self.scale is None:
            return torch.zeros_like(outputs, dtype=torch.bool)
        size = self.scale.to(outputs).abs()
        return (size <= LEAST_SCALE * size.max()).expand_as(outputs)


def _shortcuts(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return what is added before and now; zeros where nothing is, and no difference where it cannot be compared."""
    before, now = sample.before, sample.now
    if before is None:
        return torch.zeros_like(sample.outputs), torch.zeros_like(sample.outputs)
    return before, before if now is None or now.shape != before.shape else now
