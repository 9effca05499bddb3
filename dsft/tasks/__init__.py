"""What differs between tasks: what the logits of a network mean, what trains them and what they are worth.

:class:`Task` is the whole list. A new task is a file beside :mod:`dsft.tasks.classification`.
"""

from collections.abc import Mapping
from typing import Any

from dsft.choices import TaskName
from dsft.tasks.classification import CLASSIFICATION, ClassificationMetrics, ClassMetrics
from dsft.tasks.figures import ClassFigure, Figure, Layout
from dsft.tasks.multi_label import MULTI_LABEL, LabelMetrics, MultiLabelMetrics
from dsft.tasks.outputs import split_outputs
from dsft.tasks.task import CalibratedMetrics, Chooser, Chosen, Metrics, Scored, Task

__all__ = [
    "CLASSIFICATION",
    "MULTI_LABEL",
    "CalibratedMetrics",
    "Chooser",
    "Chosen",
    "ClassFigure",
    "ClassMetrics",
    "ClassificationMetrics",
    "Figure",
    "LabelMetrics",
    "Layout",
    "Metrics",
    "MultiLabelMetrics",
    "Scored",
    "Task",
    "split_outputs",
    "task_named",
    "task_of",
]

_TASKS: Mapping[TaskName, Task] = {task.name: task for task in (CLASSIFICATION, MULTI_LABEL)}


def task_named(name: TaskName) -> Task:
    """Return a task by its name."""
    return _TASKS[name]


def task_of(metrics: Mapping[str, Any]) -> Task:
    """Return the task whose metrics a ``metrics.json`` holds; where there is one class an image it names none."""
    return task_named(TaskName(metrics.get("task", TaskName.CLASSIFICATION)))
