"""Keep pictures of the images with the lowest scores while a network is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dsft.distributed.processes import Processes
from dsft.evaluation.batches import LabelledBatch
from dsft.evaluation.result import SeenImage
from dsft.tasks import Rows, Task

MOST_IMAGES = 6
"""Number of images that are kept."""


class WorstImages:
    """The images with the lowest scores so far, the lowest first; of equal ones the first in the split.

    Args:
        task: Scores and draws the images.
        classes: The class table.
    """

    def __init__(self, task: Task, classes: Sequence[str]) -> None:
        self._task, self._classes = task, classes
        self._seen: list[SeenImage] = []

    def add(self, rows: Rows, outputs: Tensor, batch: LabelledBatch) -> None:
        """Add the images of a batch; only those that are kept are drawn.

        Args:
            rows: What the scorer keeps of them.
            outputs: The main outputs.
            batch: The images.
        """
        scores = self._task.scorer.image_scores(*rows)
        if scores is None:
            return
        places = sorted(zip(scores.tolist(), batch.positions.tolist(), range(len(scores)), strict=True))[:MOST_IMAGES]
        for score, position, index in places:
            if len(self._seen) == MOST_IMAGES and (score, position) > _rank(self._seen[-1]):
                break
            shown = batch.images[index], outputs[index].cpu(), batch.targets[index]
            pictures = self._task.view.pictures(*shown, self._classes)
            self._keep([*self._seen, SeenImage(position, score, pictures)])

    def merged(self, processes: Processes) -> tuple[SeenImage, ...]:
        """Return the worst images of all processes."""
        if processes.count > 1:
            self._keep([seen for own in processes.gather(self._seen) for seen in own])
        return tuple(self._seen)

    def _keep(self, seen: list[SeenImage]) -> None:
        self._seen = sorted(seen, key=_rank)[:MOST_IMAGES]


def _rank(seen: SeenImage) -> tuple[float, int]:
    return seen.score, seen.position
