"""What an evaluation keeps of each image, and the metrics that it results in, for any task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from dsft.tasks.metric_specs import MetricLayout


@dataclass(frozen=True)
class CalibratedMetrics:
    """The metrics of the probabilities after temperature scaling, which does not change the predictions.

    Attributes:
        temperature: The temperature, by which the logits are divided.
        fitted_on: The split that it was fitted on.
        ece: Expected calibration error, a fraction.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
    """

    temperature: float
    fitted_on: str
    ece: float
    nll: float
    brier: float


class ClassScore(Protocol):
    """The metrics of a class; :attr:`MetricLayout.classes` lists them."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def support(self) -> int: ...  # noqa: D102


class Metrics(Protocol):
    """The metrics of a network on a split, for any task.

    Attributes:
        layout: The metrics of the task in addition to these.
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        per_class: The metrics of every class, in the order of the class table.
    """

    @property
    def layout(self) -> MetricLayout: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def skipped(self) -> int: ...  # noqa: D102
    @property
    def per_class(self) -> Sequence[ClassScore]: ...  # noqa: D102

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        ...


@runtime_checkable
class ProbabilityMetrics(Metrics, Protocol):
    """The metrics of a task whose outputs are probabilities of classes.

    Attributes:
        ece: Expected calibration error, a fraction.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
        calibrated: The metrics after temperature scaling; None if no temperature was fitted.
    """

    @property
    def ece(self) -> float: ...  # noqa: D102
    @property
    def nll(self) -> float: ...  # noqa: D102
    @property
    def brier(self) -> float: ...  # noqa: D102
    @property
    def calibrated(self) -> CalibratedMetrics | None: ...  # noqa: D102


class Rows(NamedTuple):
    """What an evaluation keeps of each image, see :meth:`dsft.tasks.Scorer.reduce`.

    Attributes:
        outputs: ``(images, ...)``, on the CPU.
        targets: ``(images, ...)``, on the CPU.
    """

    outputs: Tensor
    targets: Tensor
