"""Restoration: a better image from a degraded one, such as denoising."""

from dsft.choices import TaskName
from dsft.tasks.restoration.codec import RestorationCodec
from dsft.tasks.restoration.metrics import RestorationMetrics
from dsft.tasks.restoration.objective import RestorationObjective
from dsft.tasks.restoration.scorer import RestorationScorer
from dsft.tasks.restoration.view import RestorationView
from dsft.tasks.task import Task

RESTORATION = Task(
    TaskName.RESTORATION,
    RestorationObjective(),
    RestorationCodec(),
    RestorationScorer(),
    RestorationView(),
)

__all__ = ["RESTORATION", "RestorationMetrics"]
