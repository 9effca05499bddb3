"""One class for a whole image: softmax and cross entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from dsft.choices import TaskName
from dsft.errors import InputError
from dsft.losses import distillation_loss, sampled_cross_entropy, soft_cross_entropy
from dsft.metrics import (
    Interval,
    Reliability,
    brier_score,
    class_scores,
    confusion_matrix,
    difference_interval,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    top1_interval,
    topk_accuracy,
)
from dsft.tasks.figures import ClassFigure, Figure, Layout
from dsft.tasks.task import CalibratedMetrics, Chooser, Chosen, Metrics, Scored

LAYOUT = Layout(
    main=Figure("top1", "top-1", points=1),
    others=(Figure("top5", "top-5", points=1), Figure("macro_f1", "macro F1")),
    classes=(
        ClassFigure("precision", "precision", mean="macro_precision"),
        ClassFigure("recall", "recall", mean="macro_recall"),
        ClassFigure("f1", "F1", mean="macro_f1"),
    ),
    answer="top-1",
    truth="class",
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
class ClassificationMetrics:
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

    layout: ClassVar[Layout] = LAYOUT

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


class Classification:
    """Targets are class numbers ``(images,)``, int64; see :class:`dsft.tasks.Task` for what the members mean."""

    name: ClassVar = TaskName.CLASSIFICATION
    layout: ClassVar[Layout] = LAYOUT
    metrics: ClassVar[type[Metrics]] = ClassificationMetrics
    has_label_sets: ClassVar = False
    activation: ClassVar = "softmax"
    calibration_axes: ClassVar = ("confidence (highest probability)", "accuracy (share right)", "images (%)")

    def label_loss(self, logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Return the cross entropy."""
        return soft_cross_entropy(logits, targets, smoothing=smoothing, weights=weights)

    def teacher_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the softened divergence of Hinton et al. 2015."""
        return distillation_loss(student, teacher, temperature)

    def sampled_loss(self, logits: Tensor, generator: Generator) -> Tensor:
        """Return the cross entropy against one class an image."""
        return sampled_cross_entropy(logits, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Scale the weights so that their mean over the images is 1; without any, every class counts alike."""
        if given is None:
            return tuple(images / (len(counts) * count) for count in counts)
        mean = sum(weight * count for weight, count in zip(given, counts, strict=True)) / images
        return tuple(weight / mean for weight in given)

    def placeholder_targets(self, images: int, num_classes: int) -> Tensor:
        """Return class numbers ``(images,)``."""
        return torch.arange(images) % num_classes

    def watch(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss, top-1, top-5 and macro F1."""
        scores = class_scores(self.confusion(logits, targets))
        return {
            "loss": negative_log_likelihood(logits, targets),
            "top1": topk_accuracy(logits, targets, 1),
            "top5": topk_accuracy(logits, targets, 5),
            "macro_f1": scores.macro(scores.f1),
        }

    def score(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> ClassificationMetrics:
        """Return :class:`ClassificationMetrics`."""
        scores, seen = class_scores(self.confusion(logits, targets)), self.watch(logits, targets)
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), strict=True)
        return ClassificationMetrics(
            split=split_name,
            count=len(targets),
            skipped=skipped,
            loss=seen["loss"],
            top1=seen["top1"],
            top1_interval=top1_interval(self.right(logits, targets)),
            top5=seen["top5"],
            macro_precision=scores.macro(scores.precision),
            macro_recall=scores.macro(scores.recall),
            macro_f1=seen["macro_f1"],
            ece=expected_calibration_error(logits, targets),
            nll=seen["loss"],
            brier=brier_score(logits, targets),
            calibrated=calibrated,
            per_class=tuple(ClassMetrics(*row) for row in rows),
        )

    def calibrate(self, logits: Tensor, targets: Tensor, temperature: float, fitted_on: str) -> CalibratedMetrics:
        """Score the probabilities at a temperature."""
        scaled = logits.double() / temperature
        return CalibratedMetrics(
            temperature,
            fitted_on,
            ece=expected_calibration_error(scaled, targets),
            nll=negative_log_likelihood(scaled, targets),
            brier=brier_score(scaled, targets),
        )

    def fit_temperature(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.fit_temperature`."""
        return fit_temperature(logits, targets)

    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """See :func:`dsft.metrics.reliability`."""
        return reliability(logits, targets)

    def confusion(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Count the images of every true class (rows) by the class that they were given (columns)."""
        return confusion_matrix(targets, logits.argmax(dim=1), logits.shape[1])

    def decide(self, logits: Tensor) -> Tensor:
        """Return the numbers of the most probable classes."""
        return logits.argmax(dim=1)

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether each image was given its class."""
        return logits.argmax(dim=1) == targets

    def margin(self, logits: Tensor) -> Tensor:
        """Return how far the two best logits lie apart."""
        best = logits.topk(min(2, logits.shape[1]), dim=1).values
        return best[:, 0] - best[:, -1]

    def difference_interval(self, first: Scored, second: Scored) -> Interval:
        """Return the paired bootstrap's interval of the difference in top-1, in points."""
        return difference_interval(self.right(*first), self.right(*second))

    def name_answers(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the most probable class and its probability."""
        probabilities, predicted = logits.double().softmax(dim=1).max(dim=1)
        rows = zip(predicted.tolist(), probabilities.tolist(), strict=True)
        return [(classes[guess], probability) for guess, probability in rows]

    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the true class."""
        return [classes[target] for target in targets.tolist()]

    def chooser(self, top_k: int | None, threshold: float | None) -> Chooser:
        """Name the most probable classes; one where no number is asked for."""
        if threshold is not None:
            raise InputError(
                f"--threshold: is for models that give an image several labels, and this one gives it one class, found "
                f"{threshold:g}. Use --top-k."
            )

        def choose(logits: Tensor) -> list[Chosen]:
            # In float64, as the files of an evaluation state them.
            best = logits.double().softmax(dim=1).topk(min(top_k or 1, logits.shape[1]), dim=1)
            rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            return [Chosen(tuple(indices), tuple(values)) for indices, values in rows]

        return choose


CLASSIFICATION = Classification()
