"""What a model scores, takes and weighs in several runtimes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsft.choices import InputKind, Runtime
from dsft.evaluation.comparison import Difference
from dsft.runtimes.interleaved_timing import Timing
from dsft.tasks import MetricSpec


@dataclass(frozen=True)
class DeployRow:
    """The model in one runtime and number format.

    Attributes:
        runtime: What runs it.
        dtype: ``float32`` or ``int8``.
        file_bytes: Size of its file, or of the model folder's weights for torch.
        score: The task's main metric on test.
        difference: How the score differs from that in torch; None for torch itself.
        output_difference: The largest difference of an output from torch's, relative to the largest output; None for
            torch itself.
        timings: For each batch size the times, whose ratio is to the unconverted network in the same runtime and
            number format.
        float_layers: Of int8: names of the layers with weights that remain in float32.
    """

    runtime: Runtime
    dtype: str
    file_bytes: int
    score: float
    difference: Difference | None
    output_difference: float | None
    timings: Mapping[int, Timing]
    float_layers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "runtime": self.runtime.value,
            "dtype": self.dtype,
            "file_bytes": self.file_bytes,
            "score": self.score,
            "difference": self.difference and self.difference.to_dict(),
            "output_difference": self.output_difference,
            "timings": {str(batch): dataclasses.asdict(timing) for batch, timing in self.timings.items()},
            "float_layers": list(self.float_layers),
        }


@dataclass(frozen=True)
class DeployResult:
    """The model in all runtimes.

    Attributes:
        model: Its folder.
        metric: The main metric.
        images: Number of scored inputs.
        device: Marketing name of the processor.
        threads: Number of threads.
        rows: One for each usable runtime and number format.
        unusable: Why the others are missing, by ``runtime`` or ``runtime int8``.
        kind: What the model takes.
    """

    model: str
    metric: MetricSpec
    images: int
    device: str
    threads: int
    rows: tuple[DeployRow, ...]
    unusable: Mapping[str, str]
    kind: InputKind = InputKind.IMAGE

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        same = {name: getattr(self, name) for name in ("model", "kind", "images", "device", "threads")}
        rows = [row.to_dict() for row in self.rows]
        return {**same, "metric": self.metric.name, "rows": rows, "unusable": dict(self.unusable)}
