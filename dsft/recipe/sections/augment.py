"""``augment``: random augmentation of the training images or signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import InputKind
from dsft.recipe.sections.base import Fraction, Section, Share

AUGMENTATION: Mapping[InputKind, tuple[str, ...]] = {
    InputKind.IMAGE: ("scale", "hflip", "auto_augment", "color_jitter", "erase", "mixup", "cutmix", "cutmix_minmax"),
    InputKind.SIGNAL: ("hflip", "shift", "gain", "noise", "time_mask", "frequency_mask", "mixup"),
    InputKind.CLIP: ("scale", "hflip", "color_jitter", "mixup"),
    InputKind.TEXT: (),
}
"""The keys that not every kind of input has a use for."""


class AugmentSection(Section):
    """Random augmentation of the training images or signals; evaluation uses none."""

    scale: tuple[Fraction, Fraction] | None = None
    """Random resized crop: smallest and largest fraction of the image's area, such as `[0.35, 1.0]`. By default images
    are resized and cropped as in evaluation."""
    hflip: Share = 0.0
    """Probability of a horizontal flip; of volumes, of their last axis."""
    auto_augment: str | None = None
    """timm's policy string, such as `rand-m9-mstd0.5-inc1`."""
    color_jitter: Annotated[float, Field(ge=0)] | None = None
    """Strength of brightness, contrast and saturation jitter."""
    erase: Share = 0.0
    """Probability of random erasing."""
    shift: Share = 0.0
    """Signals: largest random shift, as a fraction of the length; zeros move in."""
    gain: Annotated[float, Field(ge=0)] = 0.0
    """Signals: largest random amplification or attenuation, in dB."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Signals: largest standard deviation of added Gaussian noise, as a fraction of the signal's root mean square."""
    time_mask: Share = 0.0
    """Signals: longest part along the time axis that is replaced by the mean, as a fraction of the length."""
    frequency_mask: Share = 0.0
    """Spectrograms: largest part of the bands that is replaced by the mean, as a fraction of their number."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of mixup, which blends two images or signals and their labels; 0 disables it, 0.2 to 0.8 is usual."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix, which pastes a box of one image into another; 0 disables it, 1 is usual."""
    cutmix_minmax: tuple[Fraction, Fraction] | None = None
    """Smallest and largest side of the box as fractions of the image's, such as `[0.2, 0.8]`; replaces `cutmix`."""
    mixup_prob: Fraction = 1.0
    """Probability of applying mixup or CutMix."""
    mixup_switch_prob: Share = 0.5
    """Probability of choosing CutMix if mixup is enabled too."""
    mixup_mode: Literal["batch", "pair", "elem"] = "batch"
    """Whether the parameters are drawn once per `batch`, per `pair` of images, or per image (`elem`)."""
    mixup_off_epoch: Annotated[int, Field(ge=1)] | None = None
    """Number of epochs after which mixup and CutMix are disabled."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for key in ("scale", "cutmix_minmax"):
            pair = getattr(self, key)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{key}: the smaller fraction comes first")
        if self.cutmix_minmax is not None and self.cutmix_minmax[0] == self.cutmix_minmax[1]:
            raise ValueError("cutmix_minmax: must be two different fractions, between which the side is drawn")
        has_cutmix = self.cutmix > 0 or self.cutmix_minmax is not None
        if self.cutmix > 0 and self.cutmix_minmax is not None:
            raise ValueError("cutmix_minmax: cannot be combined with cutmix; remove one of them")
        if not (self.mixup > 0 and has_cutmix):
            self._require_default("mixup_switch_prob", "mixup and cutmix together")
        if not (self.mixup > 0 or has_cutmix):
            for key in ("mixup_prob", "mixup_mode", "mixup_off_epoch"):
                self._require_default(key, "mixup or cutmix")
        return self

    def _require_default(self, key: str, partner: str) -> None:
        if getattr(self, key) != type(self).model_fields[key].default:
            raise ValueError(f"{key}: requires {partner}, which is disabled")
