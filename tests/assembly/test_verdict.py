from __future__ import annotations

from dsft.assembly.val_score import NotScored, Scores
from dsft.assembly.verdict import KEYS, Verdict, reach_verdict
from dsft.choices import Cost, Method, SplitName, Structure
from dsft.conversion import Budget, ConversionReport, Request
from dsft.conversion.report import ModelCost
from dsft.progress import Event, Warn
from dsft.runtimes import MeasuredOn
from dsft.tasks import MetricSpec

TOP1, MAP = MetricSpec("top1", "top-1", 1), MetricSpec("map", "mAP")
WHERE = MeasuredOn("a CPU", 1, 1, "float32", "channels_last", "eager")
HALF = Request(budget=Budget(Cost.MACS, 0.5))


def costs(after_ms: float) -> ConversionReport:
    return ConversionReport(ModelCost(10, 10, 2.0), ModelCost(5, 5, after_ms), WHERE, ())


def scores(before: float, after: float, metric: MetricSpec = TOP1) -> Scores:
    return Scores(SplitName.VAL, 100, 100, metric, before, after)


def judged(
    after_ms: float, found: Scores | NotScored, request: Request = HALF, method: Method = Method.REFIT
) -> tuple[Verdict, list[str]]:
    events: list[Event] = []
    verdict = reach_verdict(costs(after_ms), found, request, method, events.append)
    return verdict, [event.message for event in events if isinstance(event, Warn)]


def test_a_good_conversion_needs_no_advice() -> None:
    verdict, warnings = judged(1.0, scores(54.75, 54.0))
    assert warnings == []
    assert verdict.to_dict() == {
        "split": "val",
        "metric": "top1",
        "images": 100,
        "score_before": 54.75,
        "score_after": 54.0,
        "time_ratio": 0.5,
        "runtime": "eager",
        "advice": None,
    }


def test_a_slower_network_is_warned_of_with_what_to_do() -> None:
    verdict, (warning,) = judged(3.0, scores(54.75, 54.75))
    assert "slower than the original here: 2.00 ms before, 3.00 ms after, x 1.50 (eager). Try --only-faster" in warning
    assert "--budget latency=0.7" in warning
    assert "--structures also knows" in warning
    assert verdict.to_dict()["advice"] == warning
    # Within what repeated measurements differ by.
    assert judged(2.02, scores(54.75, 54.75))[1] == []


def test_advice_names_no_setting_that_is_in_use() -> None:
    request = Request(budget=Budget(Cost.LATENCY, 0.5), structures=list(Structure), only_faster=True)
    _, (warning,) = judged(3.0, scores(54.75, 54.75), request)
    assert "Try" not in warning
    assert "--only-faster" not in warning


def test_a_much_worse_network_is_warned_of() -> None:
    _, (warning,) = judged(1.0, scores(54.75, 25.0), method=Method.SVD)
    assert "much worse on val: top-1 54.75 % before, 25.00 % after. Try --data RECIPE|FOLDER" in warning
    assert "--budget max_drop=1" in warning
    _, (warning,) = judged(1.0, scores(0.8, 0.7, MAP))
    assert "mAP 80.00 % before, 70.00 % after. Try a larger budget" in warning
    assert "--data" not in warning
    assert judged(1.0, scores(0.8, 0.76, MAP))[1] == []


def test_a_run_is_advised_in_keys_of_its_recipe() -> None:
    events: list[Event] = []
    found = reach_verdict(
        costs(3.0), scores(50.0, 40.0), HALF, Method.REFIT, events.append, wording=KEYS, is_tuned=True
    )
    advice = found.to_dict()["advice"]
    assert "convert.only_faster=true" in advice
    assert "a longer training" in advice
    assert "--" not in advice


def test_why_it_was_not_scored_is_in_the_advice() -> None:
    verdict, warnings = judged(1.0, NotScored("there are no images. Give some."))
    assert warnings == []
    values = verdict.to_dict()
    assert (values["split"], values["metric"], values["score_before"], values["score_after"]) == (None,) * 4
    assert values["advice"] == "Not scored: there are no images. Give some."
