"""What ``dsft evaluate`` finds about each model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.choices import InputKind
from dsft.errors import DsftError
from dsft.evaluation import Difference
from dsft.runtimes import Footprint, MeasuredOn
from dsft.tasks import Metrics

UNTRAINED_SLOT = "test-converted"
"""Evaluation of a run that scores the converted network before fine-tuning."""


@dataclass(frozen=True)
class ModelResult:
    """One model: its scores and its costs.

    Attributes:
        model: Its folder.
        metrics: Its scores.
        footprint: What it costs to run.
        file_bytes: Size of its weights file.
        difference: How its score differs from the first model's; None for the first model.
        untrained: The score of the converted network before its fine-tuning, where its run recorded it on this split.
    """

    model: str
    metrics: Metrics
    footprint: Footprint
    file_bytes: int
    difference: Difference | None
    untrained: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "model": self.model,
            "metrics": self.metrics.to_dict(),
            **vars(self.footprint),
            "file_bytes": self.file_bytes,
            "difference": self.difference and self.difference.to_dict(),
            "untrained": self.untrained,
        }


@dataclass(frozen=True)
class EvaluateResult:
    """All models on the same images, or inputs of another kind."""

    models: tuple[ModelResult, ...]
    measured_on: MeasuredOn
    folder: Path | None
    kind: InputKind = InputKind.IMAGE

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"measured_on": self.measured_on.to_dict(), "models": [model.to_dict() for model in self.models]}

    def require_score(self, name: str, minimum: float) -> None:
        """Check that every model reaches a minimum score.

        Args:
            name: The main score's name, such as ``top1``.
            minimum: The minimum, in the unit of ``metrics.json``.

        Raises:
            DsftError: A model is below it.
        """
        main = self.models[0].metrics.layout.main
        scores = [(row.model, main.value_in(row.metrics)) for row in self.models]
        if low := [(model, score) for model, score in scores if not score >= minimum]:
            found = ", ".join(f"{main.with_unit(score)} of {model!r}" for model, score in low)
            raise DsftError(f"--min-{name}: expected at least {main.with_unit(minimum)}, found {found}.")


def score_before_training(row: ModelResult) -> float | None:
    """Return what a run recorded of its converted network before fine-tuning, on the same number of images."""
    file = Path(row.model) / "evaluation" / UNTRAINED_SLOT / "metrics.json"
    if not file.is_file():
        return None
    recorded = json.loads(file.read_text(encoding="utf-8"))
    value = recorded.get(row.metrics.layout.main.name)
    is_comparable = isinstance(value, int | float) and recorded.get("count") == row.metrics.count
    return float(value) if is_comparable else None
