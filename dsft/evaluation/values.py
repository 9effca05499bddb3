"""What an evaluation finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from torch import Tensor

from dsft.metrics import (
    Interval,
    brier_score,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    negative_log_likelihood,
    top1_interval,
    topk_accuracy,
)


@dataclass(frozen=True)
class ClassMetrics:
    """The scores of one class, as fractions; a score that would divide by 0 is 0.

    Attributes:
        name: The class.
        precision: Right among the images that were given this class.
        recall: Right among the images of this class.
        f1: Harmonic mean of precision and recall.
        support: Images of this class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class CalibratedMetrics:
    """What becomes of the probabilities when the logits are divided by a temperature; top-1 and top-5 stay.

    Attributes:
        temperature: The divisor.
        fitted_on: The split that it was fitted on.
        ece: As in :class:`Metrics`, and so are the next two.
        nll: Negative log-likelihood, in nats.
        brier: Brier score.
    """

    temperature: float
    fitted_on: str
    ece: float
    nll: float
    brier: float


@dataclass(frozen=True)
class Metrics:
    """The scores of a network on a split. Scripts may rely on the names.

    Attributes:
        split: The split's name.
        count: Images that were scored.
        skipped: Images that could not be read and were left out.
        loss: Mean cross entropy without label smoothing, in nats; the same number as ``nll``.
        top1: Percentage of images whose class has the highest logit.
        top1_interval: Low and high end of its 95 % confidence interval (bootstrap over the images).
        top5: Percentage of images whose class is among the five highest; 100 with five classes or fewer.
        macro_precision: Mean over the classes, a fraction. As in scikit-learn, a class that is neither
            among the truths nor among the predictions does not count, here and in the next two.
        macro_recall: Mean over the classes, a fraction.
        macro_f1: Mean over the classes, a fraction.
        ece: Expected calibration error with 15 bins, a fraction (Guo et al. 2017).
        nll: Negative log-likelihood, in nats.
        brier: Brier score: squared distance of the probabilities from the truth, 0 to 2.
        calibrated: The same after temperature scaling; None where no temperature was fitted.
        per_class: The scores of every class, in the order of the class table.
    """

    split: str
    count: int
    skipped: int
    loss: float
    top1: float
    top1_interval: Interval
    top5: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    ece: float
    nll: float
    brier: float
    calibrated: CalibratedMetrics | None
    per_class: tuple[ClassMetrics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, under the names of the attributes."""
        interval, per_class = list(self.top1_interval), [asdict(scores) for scores in self.per_class]
        return {**asdict(self), "top1_interval": interval, "per_class": per_class}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A network's answers on a split, and what they are worth.

    Attributes:
        metrics: The scores.
        confusion: Counts ``(classes, classes)``, int64: rows are truths, columns predictions.
        logits: The answers ``(images, classes)``, float32, on the CPU.
        targets: The true classes ``(images,)``, int64.
        positions: Index within the split of every row ``(images,)``, int64; skipped images have no row.
    """

    metrics: Metrics
    confusion: Tensor
    logits: Tensor
    targets: Tensor
    positions: Tensor

    @classmethod
    def of(
        cls,
        logits: Tensor,
        targets: Tensor,
        positions: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
    ) -> Self:
        """Score answers that are already there; the arguments are as in the attributes."""
        confusion = confusion_matrix(targets, logits.argmax(dim=1), len(classes))
        scores = class_scores(confusion)
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), strict=True)
        nll = negative_log_likelihood(logits, targets)
        metrics = Metrics(
            split=split_name,
            count=len(targets),
            skipped=skipped,
            loss=nll,
            top1=topk_accuracy(logits, targets, 1),
            top1_interval=top1_interval(logits.argmax(dim=1) == targets),
            top5=topk_accuracy(logits, targets, 5),
            macro_precision=scores.macro(scores.precision),
            macro_recall=scores.macro(scores.recall),
            macro_f1=scores.macro(scores.f1),
            ece=expected_calibration_error(logits, targets),
            nll=nll,
            brier=brier_score(logits, targets),
            calibrated=None,
            per_class=tuple(ClassMetrics(*row) for row in rows),
        )
        return cls(metrics, confusion, logits, targets, positions)

    @property
    def right(self) -> Tensor:
        """Whether each image was given its class ``(images,)``, bool."""
        return self.logits.argmax(dim=1) == self.targets

    def at_temperature(self, temperature: float, fitted_on: str) -> Self:
        """Return the evaluation with the scores that its probabilities have at a temperature.

        Args:
            temperature: What :func:`dsft.metrics.fit_temperature` found.
            fitted_on: The split that it was fitted on.
        """
        scaled = self.logits.double() / temperature
        calibrated = CalibratedMetrics(
            temperature,
            fitted_on,
            ece=expected_calibration_error(scaled, self.targets),
            nll=negative_log_likelihood(scaled, self.targets),
            brier=brier_score(scaled, self.targets),
        )
        return replace(self, metrics=replace(self.metrics, calibrated=calibrated))
