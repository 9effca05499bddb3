"""The target of a converted layer: outputs with which the network continues as the original does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

MIN_RELATIVE_SCALE = 1e-3
"""A channel whose batch norm scale is smaller than this, relative to the largest of the layer, corrects no sum."""


@dataclass(frozen=True)
class LayerSamples:
    """Samples of a layer's output in the original network, and of what it is added to in both networks.

    Attributes:
        outputs: Output of the original layer, ``(samples, channels)``.
        original_shortcut: What it is added to in the original network, of the same shape; None without a sum.
        converted_shortcut: What the output is added to in the converted network.
    """

    outputs: Tensor
    original_shortcut: Tensor | None = None
    converted_shortcut: Tensor | None = None


@dataclass(frozen=True)
class RegressionTarget:
    r"""The target of an output :math:`y` that the network continues from as :math:`\mathrm{relu}(s y + t + u)`.

    The shortcut :math:`u` has an error of its own in the converted network, :math:`u'`. The output that makes the sum
    correct is :math:`y + (u - u') / s`. Before a ReLU, any output is right for which a negative sum stays negative.

    Attributes:
        samples: The outputs and shortcuts.
        scale: Factor :math:`s` of each channel, ``(channels,)``; None for 1.
        shift: What is added after it, :math:`t`, ``(channels,)``; None for 0.
        is_rectified: Whether a ReLU comes last.
    """

    samples: LayerSamples
    scale: Tensor | None = None
    shift: Tensor | None = None
    is_rectified: bool = False

    @classmethod
    def of(
        cls, samples: Iterable[LayerSamples], scale: Tensor | None, shift: Tensor | None, *, is_rectified: bool
    ) -> Self:
        """Concatenate the samples of several batches into one target."""
        parts = [(part.outputs, *_shortcuts(part)) for part in samples]
        outputs, original, converted = (torch.cat(column) for column in zip(*parts, strict=True))
        return cls(LayerSamples(outputs, original, converted), scale, shift, is_rectified=is_rectified)

    def outputs(self) -> Tensor:
        """Return the outputs that make the sum equal to that of the original, ``(samples, channels)``."""
        original, converted = _shortcuts(self.samples)
        return self.samples.outputs + self._unscaled(original - converted)

    def nearest(self, predicted: Tensor) -> Tensor:
        r"""Return, of all outputs that are right before the ReLU, the one nearest to a prediction.

        With target :math:`y` and prediction :math:`p` before the ReLU, alternating between this and a least-squares
        fit lowers the sum of :math:`(y - p)^2` where :math:`y > 0` and of :math:`\mathrm{relu}(p)^2` elsewhere: the
        squared distance to the returned outputs is an upper bound of it, equal at the prediction (majorisation). The
        sum bounds the squared error after the ReLU. The idea of fitting before a ReLU is that of Zhang et al. 2015,
        "Accelerating Very Deep Convolutional Networks", §3.2.

        Args:
            predicted: ``(samples, channels)``.

        Returns:
            ``(samples, channels)``; without a ReLU the same as :meth:`outputs`.
        """
        if not self.is_rectified:
            return self.outputs()
        original, converted = _shortcuts(self.samples)
        expected = self._scaled(self.samples.outputs) + original
        found = self._scaled(predicted) + converted
        # If the ReLU of the original gives 0, any negative sum is right, and a positive one is right at 0.
        is_free = (expected <= 0) & ~self._is_off(predicted)
        return torch.where(is_free, predicted - self._unscaled(found.clamp_min(0)), self.outputs())

    def relative_error(self, predicted: Tensor) -> float:
        """Return the distance of a prediction from the nearest right outputs, relative to the outputs' deviation."""
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
        """Whether the batch norm scales a channel down so far that its output cannot correct a sum."""
        if self.scale is None:
            return torch.zeros_like(outputs, dtype=torch.bool)
        size = self.scale.to(outputs).abs()
        return (size <= MIN_RELATIVE_SCALE * size.max()).expand_as(outputs)


def _shortcuts(samples: LayerSamples) -> tuple[Tensor, Tensor]:
    """Return both shortcuts: zeros without a sum, and twice that of the original if they cannot be compared."""
    original, converted = samples.original_shortcut, samples.converted_shortcut
    if original is None:
        return torch.zeros_like(samples.outputs), torch.zeros_like(samples.outputs)
    return original, original if converted is None or converted.shape != original.shape else converted
