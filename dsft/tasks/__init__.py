"""The tasks: what the outputs of a network mean, how they are trained, scored and presented.

:class:`Task` is the interface. A new task is a package beside :mod:`dsft.tasks.classification` and one entry in the
registry here, with its word in :class:`dsft.choices.TaskName`.
"""

from collections.abc import Mapping
from typing import Any

from dsft.choices import TaskName
from dsft.tasks.classification import CLASSIFICATION, ClassificationMetrics, ClassMetrics
from dsft.tasks.detection import DETECTION, DETECTIONS, DetectionMetrics
from dsft.tasks.metric_specs import ClassMetricSpec, MetricLayout, MetricSpec
from dsft.tasks.metrics import CalibratedMetrics, Metrics, ProbabilityMetrics, Rows
from dsft.tasks.multi_label import MULTI_LABEL, LabelMetrics, MultiLabelMetrics
from dsft.tasks.outputs import split_outputs
from dsft.tasks.restoration import RESTORATION, RestorationMetrics
from dsft.tasks.segmentation import SEGMENTATION, SegmentationMetrics
from dsft.tasks.task import (
    PLAIN_LOSS,
    ClassSelector,
    Codec,
    LabelParts,
    LossOptions,
    Objective,
    Scorer,
    SelectedClasses,
    Task,
    View,
)

__all__ = [
    "CLASSIFICATION",
    "DETECTION",
    "DETECTIONS",
    "MULTI_LABEL",
    "PLAIN_LOSS",
    "RESTORATION",
    "SEGMENTATION",
    "CalibratedMetrics",
    "ClassMetricSpec",
    "ClassMetrics",
    "ClassSelector",
    "ClassificationMetrics",
    "Codec",
    "DetectionMetrics",
    "LabelMetrics",
    "LabelParts",
    "LossOptions",
    "MetricLayout",
    "MetricSpec",
    "Metrics",
    "MultiLabelMetrics",
    "Objective",
    "ProbabilityMetrics",
    "RestorationMetrics",
    "Rows",
    "Scorer",
    "SegmentationMetrics",
    "SelectedClasses",
    "Task",
    "View",
    "split_outputs",
    "task_named",
    "task_of",
]

_TASKS: Mapping[TaskName, Task] = {
    task.name: task for task in (CLASSIFICATION, MULTI_LABEL, SEGMENTATION, DETECTION, RESTORATION)
}


def task_named(name: TaskName) -> Task:
    """Return a task by its name."""
    return _TASKS[name]


def task_of(metrics: Mapping[str, Any]) -> Task:
    """Return the task of a ``metrics.json``; that of classification does not contain its name."""
    return task_named(TaskName(metrics.get("task", TaskName.CLASSIFICATION)))
