"""Mixup and CutMix: training images blended in pairs, their labels with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from timm.data.mixup import Mixup
from torch import Tensor

from dsft.data.seeding import seeded

MixMode = Literal["batch", "pair", "elem"]


@dataclass(frozen=True)
class Mixing:
    """How images are blended, in timm's words.

    Attributes:
        mixup: Alpha of mixup's beta distribution (Zhang et al. 2018); 0 is off.
        cutmix: Alpha of CutMix's beta distribution (Yun et al. 2019); 0 is off.
        cutmix_minmax: Smallest and largest side of the pasted box as shares of the image's; instead of ``cutmix``.
        prob: Probability that a batch, pair or image is blended at all.
        switch_prob: Probability of CutMix where both are on.
        mode: What is blended alike: a whole batch, a pair, or nothing (each image by itself).
        off_epoch: The first epoch, counted from 0, without blending; None for never.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_minmax: tuple[float, float] | None = None
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: MixMode = "batch"
    off_epoch: int | None = None

    def is_on(self, epoch: int) -> bool:
        """Say whether images are blended in an epoch, counted from 0."""
        is_asked_for = self.mixup > 0 or self.cutmix > 0 or self.cutmix_minmax is not None
        return is_asked_for and (self.off_epoch is None or epoch < self.off_epoch)


def mix_batch(images: Tensor, targets: Tensor, mixing: Mixing, *, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Blend every image of a batch with its mirror in the order of the batch, as timm does.

    timm's :class:`timm.data.Mixup` draws and blends. In an odd batch, which it refuses, one image has no partner:
    the last stays as it is. Labels are not smoothed here; the loss does that, which comes to the same.

    Args:
        images: ``(batch, channels, height, width)``; changed in place.
        targets: Class numbers ``(batch,)``, or one value for each class ``(batch, classes)``.
        mixing: How.
        num_classes: Number of classes.
        seed: What is drawn hangs on it alone.

    Returns:
        The images, and the share of each class ``(batch, classes)``, float32.
    """
    is_multi_label = targets.ndim == 2
    mixup = Mixup(  # type: ignore[no-untyped-call]
        mixup_alpha=mixing.mixup,
        cutmix_alpha=mixing.cutmix,
        cutmix_minmax=mixing.cutmix_minmax,
        prob=mixing.prob,
        switch_prob=mixing.switch_prob,
        mode=mixing.mode,
        label_smoothing=0.0,
        num_classes=num_classes,
        multi_label=is_multi_label,
    )
    shares = targets.float() if is_multi_label else torch.nn.functional.one_hot(targets, num_classes).float()
    paired = len(images) - len(images) % 2
    if paired:
        with seeded(seed):
            # Its batch mode blends in place; so do the others, image by image.
            _, shares[:paired] = mixup(images[:paired], targets[:paired])
    return images, shares
