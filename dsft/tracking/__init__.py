"""Experiment trackers: TensorBoard, Weights & Biases, MLflow; only where a recipe asks for them."""

from dsft.tracking.trackers import require_tracker, tracking

__all__ = ["require_tracker", "tracking"]
