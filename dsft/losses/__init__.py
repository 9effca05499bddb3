"""Pure loss functions: what a network is trained to make small, from logits alone."""

from dsft.losses.distillation import distillation_loss
from dsft.losses.features import feature_loss
from dsft.losses.labels import soft_cross_entropy

__all__ = ["distillation_loss", "feature_loss", "soft_cross_entropy"]
