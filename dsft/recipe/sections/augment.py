"""``augment``: random changes to the training images."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.recipe.sections.base import Fraction, Section, Share


class AugmentSection(Section):
    """Random changes to the training images; evaluation has none."""

    scale: tuple[Fraction, Fraction] | None = None
    """Random resized crop: smallest and largest share of the image's area, such as `[0.35, 1.0]`."""
    hflip: Share = 0.0
    """Probability of a horizontal flip."""
    auto_augment: str | None = None
    """timm's policy string, such as `rand-m9-mstd0.5-inc1`."""
    color_jitter: Annotated[float, Field(ge=0)] | None = None
    """Strength of brightness, contrast and saturation changes."""
    erase: Share = 0.0
    """Probability of random erasing."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of mixup, which blends two images and their labels; 0 is off, 0.2 to 0.8 is usual."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix, which pastes a box of one image into another; 0 is off, 1 is usual."""
    cutmix_minmax: tuple[Fraction, Fraction] | None = None
    """Smallest and largest side of the box as shares of the image's, such as `[0.2, 0.8]`; instead of `cutmix`."""
    mixup_prob: Fraction = 1.0
    """Probability that images are blended at all."""
    mixup_switch_prob: Share = 0.5
    """Probability of CutMix where mixup is on as well."""
    mixup_mode: Literal["batch", "pair", "elem"] = "batch"
    """What is blended alike: a `batch`, a `pair` of images, or each image (`elem`) by itself."""
    mixup_off_epoch: Annotated[int, Field(ge=1)] | None = None
    """Epochs after which images are no longer blended."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for key in ("scale", "cutmix_minmax"):
            pair = getattr(self, key)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{key}: the smallest share comes first")
        if self.cutmix_minmax is not None and self.cutmix_minmax[0] == self.cutmix_minmax[1]:
            raise ValueError("cutmix_minmax: two shares are needed, between which one is drawn")
        has_cutmix = self.cutmix > 0 or self.cutmix_minmax is not None
        if self.cutmix > 0 and self.cutmix_minmax is not None:
            raise ValueError("cutmix_minmax: goes without cutmix; choose one of the two")
        if not (self.mixup > 0 and has_cutmix):
            self._require_default("mixup_switch_prob", "mixup and cutmix together")
        if not (self.mixup > 0 or has_cutmix):
            for key in ("mixup_prob", "mixup_mode", "mixup_off_epoch"):
                self._require_default(key, "mixup or cutmix")
        return self

    def _require_default(self, key: str, partner: str) -> None:
        if getattr(self, key) != type(self).model_fields[key].default:
            raise ValueError(f"{key}: goes with {partner}, which is off")
