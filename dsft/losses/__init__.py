"""Pure loss functions of logits and feature maps."""

from dsft.losses.distillation import binary_distillation_loss, distillation_loss
from dsft.losses.features import feature_loss
from dsft.losses.labels import binary_cross_entropy, soft_cross_entropy
from dsft.losses.pixels import dice_loss, pixel_cross_entropy, pixel_distillation_loss
from dsft.losses.sampled import (
    is_row_of_scores,
    project_outputs,
    sampled_binary_cross_entropy,
    sampled_cross_entropy,
    sampled_pixel_cross_entropy,
)

__all__ = [
    "binary_cross_entropy",
    "binary_distillation_loss",
    "dice_loss",
    "distillation_loss",
    "feature_loss",
    "is_row_of_scores",
    "pixel_cross_entropy",
    "pixel_distillation_loss",
    "project_outputs",
    "sampled_binary_cross_entropy",
    "sampled_cross_entropy",
    "sampled_pixel_cross_entropy",
    "soft_cross_entropy",
]
