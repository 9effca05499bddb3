"""Pure loss functions of logits and feature maps."""

from dsft.losses.distillation import binary_distillation_loss, distillation_loss
from dsft.losses.features import feature_loss
from dsft.losses.labels import binary_cross_entropy, soft_cross_entropy
from dsft.losses.sampled import sampled_binary_cross_entropy, sampled_cross_entropy

__all__ = [
    "binary_cross_entropy",
    "binary_distillation_loss",
    "distillation_loss",
    "feature_loss",
    "sampled_binary_cross_entropy",
    "sampled_cross_entropy",
    "soft_cross_entropy",
]
