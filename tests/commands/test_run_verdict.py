from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dsft.commands.run_folder import RunFolder
from dsft.commands.run_verdict import unfinished_verdict
from tests.workshop import Workshop, dsft


@pytest.mark.usefixtures("here")
def test_a_run_is_compared_with_its_original_on_val(workshop: Workshop) -> None:
    conversion = json.loads((workshop.separable / "conversion.json").read_text("utf-8"))
    verdict = conversion["verdict"]
    models = json.loads(dsft("evaluate", workshop.dense, workshop.separable, "--split", "val", "--json").stdout)[
        "models"
    ]
    before, after = (row["metrics"]["top1"] for row in models)
    found = (verdict["split"], verdict["metric"], verdict["score_before"], verdict["score_after"], verdict["runtime"])
    assert found == ("val", "top1", before, after, "eager")
    ratio = conversion["converted"]["latency_ms"] / conversion["original"]["latency_ms"]
    assert verdict["time_ratio"] == ratio


def test_a_resumed_run_finds_the_score_of_its_original(workshop: Workshop, here: Path) -> None:
    shutil.copy(workshop.separable / "conversion.json", here)
    folder = RunFolder(here)
    costs, _ = folder.read_costs()
    assert costs is not None
    folder.write_costs(costs, unfinished_verdict(costs, 61.5))
    assert folder.read_costs() == (costs, 61.5)
    written = json.loads((here / "conversion.json").read_text("utf-8"))
    assert written["verdict"]["advice"] == "Not scored: the run has not finished."
    # As the first edition wrote it.
    del written["verdict"]
    (here / "conversion.json").write_text(json.dumps(written), encoding="utf-8")
    assert folder.read_costs() == (costs, None)


@pytest.mark.parametrize(
    ("verb", "recipe", "change", "reason"),
    [
        ("finetune", "separable_recipe", "evaluate.splits=[test]", "Add val to evaluate.splits"),
        ("train", "dense_recipe", "convert.rank=1", "the original was not trained on the classes of the data"),
    ],
)
def test_what_is_not_scored_says_why(
    workshop: Workshop, here: Path, verb: str, recipe: str, change: str, reason: str
) -> None:
    done = dsft(verb, getattr(workshop, recipe), change, "output.dir=out", "schedule.epochs=1", "freeze=[]")
    assert done.exit_code == 0, done.stderr
    verdict = json.loads((here / "out" / "conversion.json").read_text("utf-8"))["verdict"]
    assert (verdict["split"], verdict["score_after"]) == (None, None)
    assert reason in verdict["advice"]
    assert "accuracy: not scored" in done.stdout
