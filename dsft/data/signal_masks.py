"""Transforms of a signal together with a class for each of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dsft.data.joint_transforms import JointTransform
from dsft.data.signal_transforms import NO_AUGMENTATION, SignalAugmentation, SignalTransform, fit_length
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import SignalPreprocessing

NO_CLASS = 255
"""The class of samples that were padded."""


@dataclass(frozen=True)
class SignalMaskTransform(JointTransform):
    """Transforms a signal and its mask ``size``, int64, in which 255 is no class.

    Args:
        preprocessing: The input that the network expects.
        augmentation: Random augmentation; a shift moves both.

    Raises:
        RecipeError: The network gets a spectrogram, which has no samples.
    """

    preprocessing: SignalPreprocessing
    augmentation: SignalAugmentation = NO_AUGMENTATION

    def __post_init__(self) -> None:
        if self.preprocessing.spectrogram is not None:
            raise RecipeError("data.signal.spectrogram: has no samples, each of which needs a class; remove it.")

    def __call__(self, image: Any, target: Any, key: str) -> tuple[Tensor, Tensor]:
        """Crop or pad both, and shift them by the same number of samples."""
        signal, rate = image, self.preprocessing.rate
        if target.shape != signal.values.shape[1:] or rate != signal.rate:
            raise DataError(
                f"signal {key!r}: must have a class for each sample, and the rate of the model, {rate}, found the "
                f"shapes {signal.values.shape[1:]} and {target.shape}, and the rate {signal.rate}."
            )
        transform = SignalTransform(self.preprocessing, self.augmentation)
        shifts = transform.draw_shifts()
        mask = fit_length(target[None], self.preprocessing.length, shifts, NO_CLASS)[0]
        return transform.apply(signal, shifts), torch.from_numpy(mask).long()
