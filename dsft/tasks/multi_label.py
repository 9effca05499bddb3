"""Any number of labels for an image: a sigmoid and a binary cross entropy for each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from dsft.choices import BETWEEN_LABELS, TaskName
from dsft.errors import InputError
from dsft.losses import binary_cross_entropy, binary_distillation_loss, sampled_binary_cross_entropy
from dsft.metrics import (
    Interval,
    Reliability,
    average_precision,
    binary_brier_score,
    binary_negative_log_likelihood,
    exact_matches,
    fit_binary_temperature,
    label_set_probabilities,
    map_difference_interval,
    map_interval,
    mean_average_precision,
    micro_f1,
    multilabel_reliability,
    multilabel_scores,
)
from dsft.tasks.figures import ClassFigure, Figure, Layout
from dsft.tasks.task import CalibratedMetrics, Chooser, Chosen, Metrics, Scored

LAYOUT = Layout(
    main=Figure("map", "mAP"),
    others=(Figure("micro_f1", "micro F1"), Figure("macro_f1", "macro F1")),
    classes=(
        ClassFigure("precision", "precision", mean="macro_precision"),
        ClassFigure("recall", "recall", mean="macro_recall"),
        ClassFigure("f1", "F1", mean="macro_f1"),
        ClassFigure("average_precision", "AP", mean="map"),
    ),
    answer="labels",
    truth="set of labels",
)


@dataclass(frozen=True)
class LabelMetrics:
    """The scores of one class, as fractions; a score that would divide by 0 is 0.

    Attributes:
        name: The class.
        precision: Right among the images that were given this label, at a probability above 0.5.
        recall: Right among the images with this label.
        f1: Harmonic mean of precision and recall.
        support: Images with this label.
        average_precision: Area under the curve of precision over recall, as in scikit-learn; None without an image.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    average_precision: float | None


@dataclass(frozen=True)
class MultiLabelMetrics:
    """The scores of a network on a split. Scripts may rely on the names.

    A label is given at a probability above 0.5. A decision is whether one image has one label.

    Attributes:
        split: The split's name.
        count: Images that were scored.
        skipped: Images that could not be read and were left out.
        loss: Mean binary cross entropy of all decisions, in nats; the same number as ``nll``.
        map: Mean of the average precisions over the classes that an image has, a fraction.
        map_interval: Low and high end of its 95 % confidence interval (bootstrap over the images).
        exact_match: Share of the images that were given all of their labels and no other, a fraction.
        micro_f1: F1 of all decisions together, a fraction.
        macro_precision: Mean over the classes, a fraction; a class that no image has and none was given does not
            count, here and in the next two.
        macro_recall: Mean over the classes, a fraction.
        macro_f1: Mean over the classes, a fraction.
        ece: Expected calibration error of the decisions with 15 bins, a fraction.
        nll: Negative log-likelihood of a decision, in nats.
        brier: Mean squared distance of a decision's probability from the truth, 0 to 1.
        calibrated: The same after temperature scaling; None where no temperature was fitted.
        per_class: The scores of every class, in the order of the class table.
        task: Says how to read this.
    """

    layout: ClassVar[Layout] = LAYOUT

    split: str
    count: int
    skipped: int
    loss: float
    map: float
    map_interval: Interval
    exact_match: float
    micro_f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    ece: float
    nll: float
    brier: float
    calibrated: CalibratedMetrics | None
    per_class: tuple[LabelMetrics, ...]
    task: TaskName = TaskName.MULTI_LABEL

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, under the names of the attributes."""
        interval, per_class = list(self.map_interval), [asdict(scores) for scores in self.per_class]
        return {**asdict(self), "map_interval": interval, "per_class": per_class, "task": self.task.value}


class MultiLabel:
    """Targets are 0 or 1 ``(images, classes)``, float32; see :class:`dsft.tasks.Task` for what the members mean."""

    name: ClassVar = TaskName.MULTI_LABEL
    layout: ClassVar[Layout] = LAYOUT
    metrics: ClassVar[type[Metrics]] = MultiLabelMetrics
    has_label_sets: ClassVar = True
    activation: ClassVar = "sigmoid"
    calibration_axes: ClassVar = ("probability of a label", "share of images with it", "decisions (%)")

    def label_loss(self, logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Return the binary cross entropy; the weights are those of the positive outcomes."""
        return binary_cross_entropy(logits, targets, smoothing=smoothing, weights=weights)

    def teacher_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return the softened divergence of every decision."""
        return binary_distillation_loss(student, teacher, temperature)

    def sampled_loss(self, logits: Tensor, generator: Generator) -> Tensor:
        """Return the binary cross entropy against any number of labels."""
        return sampled_binary_cross_entropy(logits, generator)

    def class_weights(self, counts: Sequence[int], images: int, given: Sequence[float] | None) -> tuple[float, ...]:
        """Return the weight of a label that is there; without any, that of one which is not there counts alike."""
        if given is not None:
            return tuple(given)
        # At least one image counts as having it not: a weight of 0 would let the label be unlearnt.
        return tuple(max(images - count, 1) / count for count in counts)

    def placeholder_targets(self, images: int, num_classes: int) -> Tensor:
        """Return targets without any label."""
        return torch.zeros(images, num_classes)

    def watch(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss, mAP, exact match, micro and macro F1."""
        scores = multilabel_scores(logits, targets)
        return {
            "loss": binary_negative_log_likelihood(logits, targets),
            "map": mean_average_precision(logits, targets),
            "exact_match": exact_matches(logits, targets).double().mean().item(),
            "micro_f1": micro_f1(logits, targets),
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
    ) -> MultiLabelMetrics:
        """Return :class:`MultiLabelMetrics`."""
        scores, seen = multilabel_scores(logits, targets), self.watch(logits, targets)
        ranked = [None if math.isnan(value) else value for value in average_precision(logits, targets).tolist()]
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), ranked, strict=True)
        return MultiLabelMetrics(
            split=split_name,
            count=len(targets),
            skipped=skipped,
            loss=seen["loss"],
            map=seen["map"],
            map_interval=map_interval(logits, targets),
            exact_match=seen["exact_match"],
            micro_f1=seen["micro_f1"],
            macro_precision=scores.macro(scores.precision),
            macro_recall=scores.macro(scores.recall),
            macro_f1=seen["macro_f1"],
            ece=multilabel_reliability(logits, targets).error,
            nll=seen["loss"],
            brier=binary_brier_score(logits, targets),
            calibrated=calibrated,
            per_class=tuple(LabelMetrics(*row) for row in rows),
        )

    def calibrate(self, logits: Tensor, targets: Tensor, temperature: float, fitted_on: str) -> CalibratedMetrics:
        """Score the probabilities of the decisions at a temperature."""
        scaled = logits.double() / temperature
        return CalibratedMetrics(
            temperature,
            fitted_on,
            ece=multilabel_reliability(scaled, targets).error,
            nll=binary_negative_log_likelihood(scaled, targets),
            brier=binary_brier_score(scaled, targets),
        )

    def fit_temperature(self, logits: Tensor, targets: Tensor) -> float:
        """See :func:`dsft.metrics.fit_binary_temperature`."""
        return fit_binary_temperature(logits, targets)

    def reliability(self, logits: Tensor, targets: Tensor) -> Reliability:
        """See :func:`dsft.metrics.multilabel_reliability`."""
        return multilabel_reliability(logits, targets)

    def confusion(self, logits: Tensor, targets: Tensor) -> None:
        """Return None: with several labels an image, none is taken for another."""

    def decide(self, logits: Tensor) -> Tensor:
        """Return 1 for the labels with a probability above 0.5."""
        return (logits > 0).float()

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether each image was given all of its labels and no other."""
        return exact_matches(logits, targets)

    def margin(self, logits: Tensor) -> Tensor:
        """Return how far the logit nearest to 0 is from it."""
        return logits.abs().amin(dim=1)

    def difference_interval(self, first: Scored, second: Scored) -> Interval:
        """Return the paired bootstrap's interval of the difference in mAP, as fractions."""
        return map_difference_interval(first, second)

    def name_answers(self, logits: Tensor, classes: Sequence[str]) -> list[tuple[str, float]]:
        """Return the labels with a probability above 0.5, and the probability of just these."""
        names = self.name_targets(self.decide(logits), classes)
        return list(zip(names, label_set_probabilities(logits).tolist(), strict=True))

    def name_targets(self, targets: Tensor, classes: Sequence[str]) -> list[str]:
        """Return the labels that are there, ``;`` between two; nothing where there is none."""
        return [
            BETWEEN_LABELS.join(name for name, share in zip(classes, row, strict=True) if share > 0.5)
            for row in targets.tolist()
        ]

    def chooser(self, top_k: int | None, threshold: float | None) -> Chooser:
        """Name the labels with a probability above a threshold, 0.5 where none is asked for."""
        if top_k is not None:
            raise InputError(
                f"--top-k: is for models that give an image one class, and this one gives it any number of labels, "
                f"found {top_k}. Use --threshold."
            )
        least = 0.5 if threshold is None else threshold

        def choose(logits: Tensor) -> list[Chosen]:
            values, indices = logits.double().sigmoid().sort(dim=1, descending=True, stable=True)
            counts = (values > least).sum(dim=1).tolist()
            rows = zip(indices.tolist(), values.tolist(), counts, strict=True)
            return [Chosen(tuple(one[:count]), tuple(two[:count])) for one, two, count in rows]

        return choose


MULTI_LABEL = MultiLabel()
