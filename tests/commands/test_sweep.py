from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dsft.assembly import Source
from dsft.choices import Cost
from dsft.commands import sweep
from dsft.conversion import Budget, Request
from dsft.progress import Event, Started
from tests.workshop import Workshop, contents, dsft


def test_each_budget_is_scored_on_val_and_costs_what_it_may(workshop: Workshop, here: Path) -> None:
    done = dsft("sweep", workshop.dense, "--method", "svd", "--budgets", "0.3,0.6,0.001", "--out", "curve", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads((here / "curve" / "sweep.json").read_text(encoding="utf-8"))
    assert [row["budget"] for row in found["rows"]] == [None, 0.3, 0.6]
    dense, *converted = found["rows"]
    for row in converted:
        assert row["macs"] <= row["budget"] * dense["macs"]
        assert row["converted"] > 0
        assert row["latency_ms"] > 0
    assert converted[0]["params"] < converted[1]["params"] < dense["params"]
    assert {row["metrics"]["split"] for row in found["rows"]} == {"val"}
    ((unmet),) = found["unmet"]
    assert unmet["budget"] == 0.001
    assert "cannot be met: the smallest" in unmet["reason"]
    assert "budget 0.001 is skipped: budget macs=0.001: cannot be met" in done.stderr
    with Image.open(here / "curve" / "sweep.png") as picture:
        assert min(picture.size) > 500

    # The same network, converted to the same budget and scored on the same images by the other commands.
    assert dsft("convert", workshop.dense, "--method", "svd", "--budget", "macs=0.3", "--out", "new").exit_code == 0
    scored = json.loads(dsft("evaluate", "new", "--split", "val", "--json").stdout)["models"][0]["metrics"]
    assert scored["top1"] == converted[0]["metrics"]["top1"]
    assert scored["loss"] == pytest.approx(converted[0]["metrics"]["loss"], rel=1e-4)


def test_the_table_compares_with_the_original(workshop: Workshop) -> None:
    done = dsft("sweep", workshop.dense, "--budgets", "0.5", "--by", "params", "--data", workshop.pictures)
    assert done.exit_code == 0, done.stderr
    assert "Converted and not trained, scored on 5 images of val" in done.stdout
    original, half = (line.split() for line in done.stdout.splitlines() if line.startswith(("original", "0.5")))
    assert original[-1] == "+0.00"
    assert half[0] == "0.5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "half"], "--budgets: expected shares such as 0.3,0.5,0.7, found 'half'"),
        (["--budgets", "1.5"], "budget macs: a share above 0 and up to 1 is needed, found 1.5"),
        (["--budgets", "30,50"], "found 30.0. For 30 % write 0.3."),
        (["--budgets", "0.001,0.002"], "no budget of 0.001, 0.002 can be met"),
        (["--budgets", "0.5", "--structures", "dense"], "--structures: "),
        (["--budgets", "0.5", "--exclude", "layer9*"], "pattern 'layer9*' matches none"),
    ],
)
def test_invalid_sweeps_are_reported(workshop: Workshop, here: Path, arguments: list[str], message: str) -> None:
    done = dsft("sweep", workshop.dense, "--out", "curve", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert contents(here) == {}


def test_a_converted_network_is_not_swept(workshop: Workshop) -> None:
    done = dsft("sweep", workshop.separable, "--budgets", "0.5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "of its convolutions are converted already" in done.stderr


def test_structures_are_those_of_convert(workshop: Workshop, here: Path) -> None:
    chosen = ("--structures", "low_rank", "--method", "svd")
    swept = json.loads(dsft("sweep", workshop.dense, "--budgets", "0.99", *chosen, "--json").stdout)["rows"][1]
    assert dsft("convert", workshop.dense, "--budget", "macs=0.99", *chosen, "--out", "new").exit_code == 0
    plan = json.loads((here / "new" / "conversion.json").read_text(encoding="utf-8"))
    converted = [layer for layer in plan["layers"] if layer["decision"] == "converted"]
    assert len(converted) == swept["converted"] > 0
    assert {layer["structure"] for layer in converted} == {"low_rank"}


def test_the_network_is_looked_at_once_for_all_budgets(workshop: Workshop) -> None:
    events: list[Event] = []
    requests = [Request(budget=Budget(Cost.MACS, share)) for share in (0.4, 0.6)]
    sweep.run(Source(str(workshop.dense)), requests, report=events.append)
    tasks = [event.task for event in events if isinstance(event, Started)]
    assert (tasks.count("collecting statistics"), tasks.count("refitting layers")) == (1, 2)
