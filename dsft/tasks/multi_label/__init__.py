"""Multi-label classification: any number of labels per image, with a sigmoid for each class."""

from dsft.choices import TaskName
from dsft.tasks.multi_label.codec import MultiLabelCodec
from dsft.tasks.multi_label.metrics import LabelMetrics, MultiLabelMetrics
from dsft.tasks.multi_label.objective import MultiLabelObjective
from dsft.tasks.multi_label.scorer import MultiLabelScorer
from dsft.tasks.multi_label.view import MultiLabelView
from dsft.tasks.task import LabelParts, Task

_SCORER, _VIEW = MultiLabelScorer(), MultiLabelView()
MULTI_LABEL = Task(
    TaskName.MULTI_LABEL,
    MultiLabelObjective(),
    MultiLabelCodec(),
    _SCORER,
    _VIEW,
    LabelParts(_SCORER, _VIEW),
)

__all__ = ["MULTI_LABEL", "LabelMetrics", "MultiLabelMetrics"]
