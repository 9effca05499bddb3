"""Experiment trackers: TensorBoard, Weights & Biases, MLflow; only where a recipe asks for them."""

from dsft.tracking.trackers import tracking

__all__ = ["tracking"]
