"""The verdict on a conversion, as printed at the end of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsft.number_format import plural

if TYPE_CHECKING:
    from dsft.assembly.val_score import NotScored, Scores
    from dsft.assembly.verdict import Verdict


def verdict_lines(verdict: Verdict) -> str:
    """Return accuracy and time before and after, one line each."""
    change = f"x {verdict.time_ratio:.3f}, {verdict.runtime}"
    time = f"time: {verdict.ms_before:.2f} ms -> {verdict.ms_after:.2f} ms ({change})"
    return f"Verdict\n{_accuracy(verdict.scores)}\n{time}"


def _accuracy(scores: Scores | NotScored) -> str:
    from dsft.assembly.val_score import NotScored

    if isinstance(scores, NotScored):
        return f"accuracy: not scored, since {scores.reason}"
    metric = scores.metric
    before, after = metric.with_unit(scores.before), metric.with_unit(scores.after)
    images = plural(scores.images, scores.kind)
    if scores.images < scores.available:
        images = f"scored on {scores.images:,} of {scores.available:,} {scores.kind.plural} of {scores.split}"
    change = f"({scores.points:+.2f} {metric.difference_unit}, {images})"
    return f"{metric.label} on {scores.split}: {before} -> {after} {change}"
