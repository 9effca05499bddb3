"""Classification: one class per image, with softmax and cross entropy."""

from dsft.choices import TaskName
from dsft.tasks.classification.codec import ClassificationCodec
from dsft.tasks.classification.metrics import ClassificationMetrics, ClassMetrics
from dsft.tasks.classification.objective import ClassificationObjective
from dsft.tasks.classification.scorer import ClassificationScorer
from dsft.tasks.classification.view import ClassificationView
from dsft.tasks.task import LabelParts, Task

_SCORER, _VIEW = ClassificationScorer(), ClassificationView()
CLASSIFICATION = Task(
    TaskName.CLASSIFICATION,
    ClassificationObjective(),
    ClassificationCodec(),
    _SCORER,
    _VIEW,
    LabelParts(_SCORER, _VIEW),
)

__all__ = ["CLASSIFICATION", "ClassMetrics", "ClassificationMetrics"]
