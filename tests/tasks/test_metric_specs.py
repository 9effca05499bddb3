from __future__ import annotations

import pytest

from dsft.choices import InputKind, TaskName
from dsft.tasks import CLASSIFICATION, MULTI_LABEL, MetricSpec, task_named


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (MetricSpec("top1", "top-1", points=1), 97.2222, "97.22 %"),
        (MetricSpec("macro_f1", "macro F1"), 0.972222, "97.22 %"),
    ],
)
def test_every_score_is_written_in_percent(metric: MetricSpec, value: float, text: str) -> None:
    assert metric.with_unit(value) == text
    assert f"{metric.format(value)} %" == text
    assert metric.heading.endswith(" %")


def test_percentages_are_those_scores_that_metrics_json_has_as_percentages() -> None:
    metrics = [
        metric
        for layout in (CLASSIFICATION.scorer.layout, MULTI_LABEL.scorer.layout)
        for metric in (layout.main, *layout.others, *layout.classes)
    ]
    assert {metric.name for metric in metrics if metric.points == 1} == {"top1", "top5"}
    assert {metric.points for metric in metrics} == {1, 100}


def test_an_interval_is_in_percent_too() -> None:
    assert CLASSIFICATION.scorer.layout.format_interval((96.94, 99.4), " to ") == "96.9 to 99.4"
    assert MULTI_LABEL.scorer.layout.format_interval((0.9694, 0.994), "-") == "96.9-99.4"


def test_support_is_counted_in_what_the_inputs_are_or_consist_of() -> None:
    layouts = [task_named(task).scorer.layout for task in (TaskName.CLASSIFICATION, TaskName.SEGMENTATION)]
    found = {kind: [layout.support_of(kind) for layout in layouts] for kind in (InputKind.IMAGE, InputKind.SIGNAL)}
    assert found == {InputKind.IMAGE: ["images", "pixels"], InputKind.SIGNAL: ["signals", "samples"]}


def test_plots_have_the_unit_of_a_metric() -> None:
    assert MetricSpec("psnr", "PSNR", points=1, unit="dB").axis_label == "PSNR (dB)"
    assert MetricSpec("ssim", "SSIM", points=1, unit="").axis_label == "SSIM"
