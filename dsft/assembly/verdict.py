"""The verdict on a conversion: accuracy and time before and after, and what to do about either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dsft.assembly.val_score import NotScored, Scores
from dsft.choices import Cost, Method, Structure
from dsft.conversion import ConversionReport, Request
from dsft.progress import Report, Warn

SLOWER = 1.02
"""Ratio of the times above which a converted network counts as slower; repeated measurements differ by less."""

MUCH_WORSE_POINTS = 5.0
"""Points (percent) of the main score whose loss is warned of."""


@dataclass(frozen=True)
class Verdict:
    """What a conversion has achieved.

    Attributes:
        scores: Accuracy before and after, or why it is unknown.
        ms_before: Time of one forward pass of the original, in milliseconds.
        ms_after: The same of the converted network.
        runtime: What ran them.
        warnings: What is wrong with the result, each with what to do.
    """

    scores: Scores | NotScored
    ms_before: float
    ms_after: float
    runtime: str
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, costs: ConversionReport, scores: Scores | NotScored, warnings: Sequence[str] = ()) -> Self:
        """Return the verdict on measured costs and scores."""
        times = (costs.original.latency_ms, costs.converted.latency_ms)
        return cls(scores, *times, costs.measured_on.runtime, tuple(warnings))

    @property
    def time_ratio(self) -> float:
        """Time after over time before."""
        return self.ms_after / self.ms_before

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values, as in ``conversion.json``; scores are in the unit of ``metrics.json``."""
        scored = self.scores if isinstance(self.scores, Scores) else None
        reason = [] if isinstance(self.scores, Scores) else [f"Not scored: {self.scores.reason}"]
        return {
            "split": scored.split.value if scored else None,
            "metric": scored.metric.name if scored else None,
            "images": scored.images if scored else None,
            "score_before": scored.before if scored else None,
            "score_after": scored.after if scored else None,
            "time_ratio": self.time_ratio,
            "runtime": self.runtime,
            "advice": " ".join([*reason, *self.warnings]) or None,
        }


@dataclass(frozen=True)
class Wording:
    """How advice names settings: as options of the command line, or as keys of a recipe."""

    only_faster: str
    latency: str
    structures: str
    max_drop: str
    data: str


OPTIONS = Wording(
    "--only-faster", "--budget latency=0.7", "--structures", "--budget max_drop=1", "--data RECIPE|FOLDER"
)
KEYS = Wording(
    "convert.only_faster=true",
    "convert.budget={latency: 0.7}",
    "convert.structures",
    "convert.budget={max_drop: 1}",
    "convert.calibration.images=512",
)


def reach_verdict(
    costs: ConversionReport,
    scores: Scores | NotScored,
    request: Request,
    method: Method,
    report: Report,
    *,
    wording: Wording = OPTIONS,
    is_tuned: bool = False,
) -> Verdict:
    """Judge a conversion, and warn where it is slower or much worse than the original.

    Args:
        costs: Costs before and after.
        scores: Scores before and after.
        request: What the conversion was asked for.
        method: How the weights were derived.
        report: Receives the warnings.
        wording: How the advice names settings.
        is_tuned: The converted network has been fine-tuned since.
    """
    before, after, runtime = costs.original.latency_ms, costs.converted.latency_ms, costs.measured_on.runtime
    warnings: list[str] = []
    if after / before > SLOWER:
        change = f"{before:.2f} ms before, {after:.2f} ms after, x {after / before:.2f} ({runtime})"
        ways = _join(_ways_to_time(request, wording))
        warnings.append(f"the converted network is slower than the original here: {change}. {ways}")
    if isinstance(scores, Scores) and scores.points < -MUCH_WORSE_POINTS:
        metric = scores.metric
        change = f"{metric.with_unit(scores.before)} before, {metric.with_unit(scores.after)} after"
        ways = _join(_ways_to_accuracy(request, method, wording, is_tuned=is_tuned))
        warnings.append(f"the converted network is much worse on {scores.split}: {metric.label} {change}. {ways}")
    for warning in warnings:
        report(Warn(warning))
    return Verdict.of(costs, scores, warnings)


def _ways_to_time(request: Request, wording: Wording) -> Iterable[str]:
    if not request.only_faster:
        yield f"{wording.only_faster} (keeps dense what measures slower)"
    if request.cost_budget is None or request.cost_budget.by is not Cost.LATENCY:
        yield f"{wording.latency} (a budget of measured time)"
    yield from _other_structures(request, wording)


def _ways_to_accuracy(request: Request, method: Method, wording: Wording, *, is_tuned: bool) -> Iterable[str]:
    if method is not Method.REFIT and method is not Method.FRESH:
        yield f"{wording.data} (this conversion was not calibrated on any data)"
    yield f"a larger budget or {wording.max_drop}" if request.max_drop is None else "a smaller max_drop"
    yield from _other_structures(request, wording)
    yield "a longer training" if is_tuned else "fine-tuning it (dsft finetune)"


def _other_structures(request: Request, wording: Wording) -> Iterable[str]:
    if others := [str(structure) for structure in Structure if structure not in request.allowed_structures]:
        yield f"another structure ({wording.structures} also knows {', '.join(others)})"


def _join(ways: Iterable[str]) -> str:
    found = list(ways)
    if not found:
        return "A larger budget keeps more of the original's layers."
    *first, last = found
    return f"Try {', '.join(first)}{',' * (len(first) > 1)}{' or ' * bool(first)}{last}."
