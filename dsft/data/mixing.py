"""Mixup and CutMix, applied to whole batches."""

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
    """The parameters of mixup and CutMix, named as in timm.

    Attributes:
        mixup: Alpha of mixup's beta distribution (Zhang et al. 2018); 0 disables it.
        cutmix: Alpha of CutMix's beta distribution (Yun et al. 2019); 0 disables it.
        cutmix_minmax: Smallest and largest side of the box as fractions of the image's side; replaces ``cutmix``.
        prob: Probability that a batch, pair or image is mixed.
        switch_prob: Probability of CutMix if both are enabled.
        mode: Whether the parameters are drawn per batch, per pair or per image.
        off_epoch: The first epoch, counted from 0, without mixing; None if there is none.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_minmax: tuple[float, float] | None = None
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: MixMode = "batch"
    off_epoch: int | None = None

    def is_on(self, epoch: int) -> bool:
        """Return whether images are mixed in an epoch, counted from 0."""
        is_enabled = self.mixup > 0 or self.cutmix > 0 or self.cutmix_minmax is not None
        return is_enabled and (self.off_epoch is None or epoch < self.off_epoch)


def mix_batch(images: Tensor, targets: Tensor, mixing: Mixing, *, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mix the i-th image of a batch with the i-th from the end, as timm does.

    The mixing itself is done by :class:`timm.data.Mixup`, which requires an even batch size: the last image of an odd
    batch stays unchanged. Labels are not smoothed here, since the loss does it with the same result.

    Args:
        images: ``(batch, channels, height, width)``; changed in place.
        targets: Class indices ``(batch,)``, or multi-hot ``(batch, classes)``.
        mixing: The parameters.
        num_classes: Number of classes.
        seed: Seed of everything that is drawn.

    Returns:
        The images, and the soft targets ``(batch, classes)``, float32.
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
            # timm mixes in place, in every mode.
            _, shares[:paired] = mixup(images[:paired], targets[:paired])
    return images, shares
