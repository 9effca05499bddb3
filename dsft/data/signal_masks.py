"""Transforms of a signal together with a class for each of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.choices import NO_CLASS
from dsft.data.joint_transforms import JointTransform
from dsft.data.signal_transforms import NO_AUGMENTATION, Extent, SignalAugmentation, SignalTransform, fit_length
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import SignalPreprocessing


@dataclass(frozen=True)
class SignalMaskTransform(JointTransform):
    """Transforms a signal and its mask ``size``, int64, in which 255 is no class.

    Args:
        preprocessing: The input that the network expects.
        augmentation: Random augmentation; shifts and flips move both.
        extent: The part of the signal and of its mask.

    Raises:
        RecipeError: The network gets a spectrogram, which has no samples.
    """

    preprocessing: SignalPreprocessing
    augmentation: SignalAugmentation = NO_AUGMENTATION
    extent: Extent = Extent.CENTRE

    def __post_init__(self) -> None:
        if self.preprocessing.spectrogram is not None:
            raise RecipeError("data.signal.spectrogram: has no samples, each of which needs a class; remove it.")

    def __call__(self, image: Any, target: Any, key: str) -> tuple[Tensor, Tensor]:
        """Resample, crop, pad and flip both alike; classes are those of the nearest samples."""
        signal, rate = image, self.preprocessing.rate
        if target.shape != signal.values.shape[1:] or rate != signal.rate:
            raise DataError(
                f"signal {key!r}: must have a class for each sample, and the rate of the model, {rate}, found the "
                f"shapes {signal.values.shape[1:]} and {target.shape}, and the rate {signal.rate}."
            )
        transform = SignalTransform(self.preprocessing, self.augmentation, self.extent)
        samples = transform.samples(signal)
        placement = transform.placement(samples.shape[1:])
        mask = placement.place(resample_classes(target, samples.shape[1:])[None], NO_CLASS)[0]
        return transform.finish(samples, placement), torch.from_numpy(mask).long()


def resample_classes(classes: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    """Return class indices in another size: each voxel has the class of the nearest one, of two the later one.

    Args:
        classes: ``(depth, height, width)``, or another number of axes.
        size: The new number of voxels along each axis, over the same extent.
    """
    if classes.shape == tuple(size):
        return classes
    # The centre of voxel n is at (n + 1/2) / size of the extent. In integers, so that no rounding moves a border.
    places = [(2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(classes.shape, size, strict=True)]
    return classes[np.ix_(*places)]


def restore_classes(classes: NDArray[np.uint8], resampled: Sequence[int], size: Sequence[int]) -> NDArray[np.uint8]:
    """Return predicted classes for the samples of a signal as they are in its file.

    This undoes :class:`SignalTransform`: what was padded is removed, what was cropped has no class, and each sample
    gets the class of the nearest one at the network's rate or spacing.

    Args:
        classes: The predicted classes ``size`` of an input, uint8.
        resampled: Size of the signal at the network's rate or spacing.
        size: Its size in the file.
    """
    fitted = fit_length(classes[None], resampled, [0] * classes.ndim, NO_CLASS)[0]
    return resample_classes(fitted, size)
