"""Object detection: boxes around the objects of an image, each with a class."""

from dsft.choices import TaskName
from dsft.tasks.detection.codec import DETECTIONS, NO_BOX, DetectionCodec
from dsft.tasks.detection.drawing import DrawnBox, draw_boxes
from dsft.tasks.detection.metrics import DetectionMetrics
from dsft.tasks.detection.objective import DetectionObjective
from dsft.tasks.detection.scorer import SHOWN_SCORE, DetectionScorer
from dsft.tasks.detection.view import DetectionView
from dsft.tasks.task import Task

DETECTION = Task(
    TaskName.DETECTION,
    DetectionObjective(),
    DetectionCodec(),
    DetectionScorer(),
    DetectionView(),
)

__all__ = ["DETECTION", "DETECTIONS", "NO_BOX", "SHOWN_SCORE", "DetectionMetrics", "DrawnBox", "draw_boxes"]
