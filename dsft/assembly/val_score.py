"""The score of a conversion on the val split, before and after."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from dsft.assembly.conversion_data import ConversionData
from dsft.assembly.data import load_split
from dsft.assembly.held_out import ROLES, count_seen
from dsft.assembly.network import Network
from dsft.assembly.scoring import under_class_table
from dsft.choices import InputKind, SplitName
from dsft.data import Split
from dsft.devices import Compute
from dsft.errors import DataError
from dsft.evaluation import Evaluation, evaluate
from dsft.progress import Report, Warn
from dsft.recipe.sections import DataSection
from dsft.tasks import MetricSpec


@dataclass(frozen=True)
class Scores:
    """The main score of a network before and after its conversion.

    Attributes:
        split: The split that was scored.
        images: Number of images that were scored.
        available: Number of images of the split.
        metric: Which score it is.
        before: The original's score.
        after: The converted network's.
        kind: What was scored.
    """

    split: SplitName
    images: int
    available: int
    metric: MetricSpec
    before: float
    after: float
    kind: InputKind = InputKind.IMAGE

    @property
    def points(self) -> float:
        """Change of the score in points (percent); negative is worse."""
        return self.metric.points * (self.after - self.before)


@dataclass(frozen=True)
class NotScored:
    """Why a conversion is not scored, and what to do about it; it stands in for a scorer and for scores."""

    reason: str

    def baseline(self, original: Network) -> NotScored:
        """Score nothing."""
        del original
        return self

    def compare(self, converted: Network) -> NotScored:
        """Score nothing."""
        del converted
        return self


@dataclass(frozen=True)
class ValScorer:
    """Scores networks on a val split, or on a part of it.

    Attributes:
        images: The images, their classes numbered as the network does.
        available: Number of images of the whole split.
        section: How its images are read.
        compute: Where networks run; they are scored in the dtype of their parameters.
        report: Receives the progress.
    """

    images: Split
    available: int
    section: DataSection
    compute: Compute
    report: Report

    def points(self, network: Network) -> float:
        """Return the main score of a network in points (percent)."""
        return self.evaluate(network).main_score * network.task.scorer.layout.main.points

    def baseline(self, original: Network) -> Baseline:
        """Score the original."""
        return Baseline(self, self.evaluate(original).main_score)

    def evaluate(self, network: Network) -> Evaluation:
        """Evaluate a network on the split."""
        exact = dataclasses.replace(self.compute, amp_dtype=None)
        return evaluate(
            exact.place_module(network.module),
            load_split(self.images, self.section, network.preprocessing, exact),
            self.images,
            compute=exact,
            task=network.task,
            report=self.report,
        )


@dataclass(frozen=True)
class Baseline:
    """The original's main score, and what compares a converted network with it."""

    scorer: ValScorer
    score: float

    def compare(self, converted: Network) -> Scores:
        """Score the converted network on the same images."""
        evaluation, metric = self.scorer.evaluate(converted), converted.task.scorer.layout.main
        count, available = evaluation.metrics.count, self.scorer.available
        split = self.scorer.images
        return Scores(split.name, count, available, metric, self.score, evaluation.main_score, split.input_kind)


def open_val_scorer(
    data: ConversionData | None,
    network: Network,
    model: str,
    compute: Compute,
    report: Report,
    *,
    limit: int | None = None,
) -> ValScorer | NotScored:
    """Return what scores networks on val, or why that is impossible.

    Args:
        data: The images of the conversion.
        network: The original, on its device.
        model: Its name, for messages.
        compute: Where it runs.
        report: Receives the progress, and a warning if val is not held out.
        limit: Largest number of images to score, spread evenly over the split; None for all.
    """
    if data is None:
        return NotScored(f"there are no {network.preprocessing.kind.plural}. Give some with --data RECIPE|FOLDER.")
    if data.val is None:
        return NotScored(
            f"the {data.train.input_kind.plural} in {data.train.source.origin!r} have no labels. Give a recipe, or a "
            "folder with one folder per class."
        )
    if network.classes is None:
        return NotScored(
            f"the class names of {model!r} are unknown. Give them with --classes FILE, or with --classes data if its "
            "outputs are the classes of the data, sorted by name."
        )
    try:
        images = under_class_table(data.val, model, network)
    except DataError as error:
        return NotScored(str(error))
    if trained := count_seen(images, network.trainings).get(SplitName.TRAIN):
        noun = images.input_kind.plural
        did = ROLES[SplitName.TRAIN]
        report(Warn(f"{trained:,} of the {len(images):,} {noun} of val {did} {model!r}: its score is not held out."))
    scored = images if limit is None else images.evenly_spaced(limit)
    return ValScorer(scored, len(images), data.section, compute, report)
