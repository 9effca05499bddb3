"""Semantic segmentation: a class per pixel, with softmax and cross entropy."""

from dsft.choices import TaskName
from dsft.tasks.segmentation.codec import SegmentationCodec
from dsft.tasks.segmentation.metrics import SegmentationMetrics
from dsft.tasks.segmentation.objective import SegmentationObjective
from dsft.tasks.segmentation.scorer import SegmentationScorer
from dsft.tasks.segmentation.view import SegmentationView
from dsft.tasks.task import Task

SEGMENTATION = Task(
    TaskName.SEGMENTATION,
    SegmentationObjective(),
    SegmentationCodec(),
    SegmentationScorer(),
    SegmentationView(),
)

__all__ = ["SEGMENTATION", "SegmentationMetrics"]
