"""Experiment trackers: TensorBoard, Weights & Biases and MLflow, if a recipe names them in ``log.to``."""

from dsft.tracking.registry import require_tracker
from dsft.tracking.track_run import track_run

__all__ = ["require_tracker", "track_run"]
