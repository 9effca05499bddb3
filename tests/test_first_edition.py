"""What the first edition (commit 3ec2a73) wrote and computed holds: see ``first_edition/make_fixtures.py``.

Only the public functions and the command line are used, so that nothing here follows where modules are. Another
processor rounds otherwise, so figures are compared to a small tolerance; everything else is equal.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import dsft
from dsft.__main__ import main
from tests.first_edition.jobs import JOBS, Job, Kinds, fingerprint, save_dense

STORED = Path(__file__).with_name("first_edition")
CLOSE = 1e-3
"""Relative tolerance. Without oneDNN, as on a processor that rounds otherwise, a refit differs by up to 1.3e-4."""
TRAINED = 5e-3
"""The same after an epoch of training."""
LAYER_FIELDS = (
    "name",
    "aliases",
    "weight_shape",
    "decision",
    "structure",
    "kernels",
    "form",
    "adds_bias",
    "macs_before",
    "macs_after",
)
PLAN_FIELDS = ("method", "norm_between", "macs_before", "macs_after", "params_before", "params_after")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def stored_plan(name: str) -> dsft.ConversionPlan:
    return dsft.ConversionPlan.from_dict(read_json(STORED / "plans" / f"{name}.json"))


def assert_same_plan(found: dsft.ConversionPlan, expected: dsft.ConversionPlan) -> None:
    """Check everything but the words of the reasons, which are for people and may be put otherwise."""
    for key in PLAN_FIELDS:
        assert getattr(found, key) == getattr(expected, key), key
    assert [layer.name for layer in found.layers] == [layer.name for layer in expected.layers]
    for mine, theirs in zip(found.layers, expected.layers, strict=True):
        for key in LAYER_FIELDS:
            assert getattr(mine, key) == getattr(theirs, key), (mine.name, key)
        assert (mine.relative_error is None) == (theirs.relative_error is None), mine.name
        if mine.relative_error is not None:
            assert mine.relative_error == pytest.approx(theirs.relative_error, rel=CLOSE, abs=1e-6), mine.name


def assert_same_weights(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare fingerprints; figures of a tensor are measured by its size, since they may cancel out."""
    assert found["kept"] == expected["kept"]
    assert found["tensors"].keys() == expected["tensors"].keys()
    for name, theirs in expected["tensors"].items():
        mine = found["tensors"][name]
        assert (mine["shape"], mine["dtype"]) == (theirs["shape"], theirs["dtype"]), name
        spread = theirs["rms"] / math.prod(theirs["shape"]) ** 0.5
        assert mine["rms"] == pytest.approx(theirs["rms"], rel=CLOSE), name
        assert mine["mean"] == pytest.approx(theirs["mean"], abs=CLOSE * theirs["rms"]), name
        assert mine["projection"] == pytest.approx(theirs["projection"], abs=CLOSE * spread), name
    size = max(map(abs, expected["outputs"]))
    assert found["outputs"] == pytest.approx(expected["outputs"], abs=CLOSE * size)


@pytest.fixture(params=JOBS)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def job(name: str) -> Job:
    return JOBS[name]


def test_every_conversion_is_stored() -> None:
    for kind in ("plans", "weights"):
        assert {path.stem for path in (STORED / kind).iterdir()} == set(JOBS)


def test_a_conversion_gives_the_plan_and_the_weights_of_the_first_edition(name: str, job: Job) -> None:
    model = job.network()
    conversion = job.convert(model)
    assert_same_plan(conversion.plan, stored_plan(name))
    assert_same_weights(
        fingerprint(conversion.model, model, job.example()), read_json(STORED / "weights" / f"{name}.json")
    )


def test_a_plan_of_the_first_edition_is_replayed(name: str, job: Job) -> None:
    plan, values = stored_plan(name), read_json(STORED / "plans" / f"{name}.json")
    for layer, written in zip(plan.layers, values["layers"], strict=True):
        assert layer.name == written["name"]
        assert layer.is_converted == (written["decision"] == "converted")
        assert list(layer.kernels) == written["kernels"]
        assert layer.structure == (None if not layer.is_converted else written["order"] or "low_rank")
        assert layer.relative_error == written["relative_error"]
    dense, converted = job.build().state_dict(), dsft.replay_plan(job.build(), plan).state_dict()
    weights = read_json(STORED / "weights" / f"{name}.json")
    assert len(converted) == weights["kept"] + len(weights["tensors"])
    for key, figures in weights["tensors"].items():
        assert list(converted[key].shape) == figures["shape"], key
    assert {key for key in converted if key not in dense} <= set(weights["tensors"])
    assert_same_plan(dsft.ConversionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))), plan)


def test_a_model_folder_of_the_first_edition_loads() -> None:
    loaded = dsft.load(STORED / "model_folder", skeleton=Kinds())
    expected = load_file(STORED / "model_folder" / "expected.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(loaded(expected["images"]), expected["outputs"], rtol=CLOSE, atol=CLOSE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with copies of the runs and their recipes."""
    for name in ("run_folder", "interrupted_run", "images"):
        shutil.copytree(STORED / name, tmp_path / name)
    for name in ("finished.yaml", "interrupted.yaml"):
        shutil.copy(STORED / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_dsft(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the command line in this process, to its end and without an error."""
    monkeypatch.setattr(sys, "argv", ["dsft", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)


def assert_same_scores(found: Any, expected: Any, tolerance: float) -> None:
    assert (found["split"], found["count"]) == (expected["split"], expected["count"])
    assert [row["name"] for row in found["per_class"]] == [row["name"] for row in expected["per_class"]]
    for key in ("loss", "nll"):
        assert found[key] == pytest.approx(expected[key], rel=tolerance)
    # An image or two whose classes are as good as equal may be answered otherwise.
    images = max(1, round(tolerance * expected["count"]))
    for key in ("top1", "top5"):
        assert found[key] == pytest.approx(expected[key], abs=100 * images / expected["count"] + 1e-9)


def test_a_run_of_the_first_edition_is_evaluated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dsft(monkeypatch, "evaluate", "run_folder", "--out=scores", "--device=cpu", "--progress=off")
    (metrics,) = (place / "scores").rglob("metrics.json")
    expected = read_json(STORED / "run_folder" / "evaluation" / "test" / "metrics.json")
    assert_same_scores(read_json(metrics), expected, CLOSE)


def test_a_run_of_the_first_edition_predicts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--format=jsonl", "--top-k=3", "--out=found.jsonl", "--device=cpu", "--workers=0"]
    run_dsft(monkeypatch, "predict", "run_folder", "images", *arguments)
    found, expected = (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in (place / "found.jsonl", STORED / "predictions.jsonl")
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert Path(mine["path"]) == Path(theirs["path"])
        for one, other in zip(mine["predictions"], theirs["predictions"], strict=True):
            assert one["class"] == other["class"]
            assert one["probability"] == pytest.approx(other["probability"], rel=CLOSE)


def test_a_run_of_the_first_edition_gets_its_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dsft(monkeypatch, "report", "run_folder")
    page = (place / "run_folder" / "report.html").read_text("utf-8")
    scores = read_json(STORED / "run_folder" / "evaluation" / "test" / "metrics.json")
    assert f"{scores['top1']:.2f}" in page
    assert "blocks.2.0.conv_exp" in page


def test_an_interrupted_run_of_the_first_edition_is_resumed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_dense(place / "dense")
    run = place / "interrupted_run"
    before = (run / "metrics.jsonl").read_text("utf-8")
    # Two epochs are over, so that this is what was left and nothing more.
    assert len(before.splitlines()) == 2
    run_dsft(monkeypatch, "finetune", "interrupted.yaml", "--resume", "--progress=off")
    after = (run / "metrics.jsonl").read_text("utf-8")
    assert after.startswith(before)
    assert len(after.splitlines()) == 3
    expected = read_json(STORED / "resumed.json")
    epoch = json.loads(after.splitlines()[-1])
    assert (epoch["epoch"], epoch["step"]) == (expected["epoch"]["epoch"], expected["epoch"]["step"])
    for key in ("lr", "train_loss", "val/loss"):
        assert epoch[key] == pytest.approx(expected["epoch"][key], rel=TRAINED), key
    for split in ("val", "test"):
        assert_same_scores(read_json(run / "evaluation" / split / "metrics.json"), expected[split], TRAINED)
    assert read_json(run / "run.json")["finished"] is True
    assert (run / "model" / "model.safetensors").is_file()
