"""Recipes and evaluations from Python, for networks of one's own and for model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dsft
from dsft.errors import CheckpointError, DataError, InputError, ModelError, OutputError, RecipeError
from dsft.progress import Event, Note, ignore
from dsft.recipe import load_recipe
from tests.workshop import CLASSES, Workshop
from tests.zoo import Residual


def recipe_for(workshop: Workshop) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "own",
        "data": {"source": "folder", "root": workshop.pictures, "image_size": 16, "batch_size": 16, "workers": 0},
        "optim": {"lr": 3e-3},
        "schedule": {"epochs": 1},
        "output": {"dir": "out"},
        "log": {"progress": "off"},
    }


class Three(Residual):
    """A network for the three classes of the workshop."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)


@pytest.mark.usefixtures("here")
def test_an_own_network_is_tuned_from_a_dict(workshop: Workshop) -> None:
    model = Three()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = dsft.finetune(recipe_for(workshop), model, report=ignore)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert result.folder == Path("out")
    trained = result.model.state_dict()
    assert not all(torch.equal(before[name], tensor) for name, tensor in trained.items())
    loaded = dsft.load("out/model", skeleton=Three()).state_dict()
    assert all(torch.equal(trained[name].cpu(), tensor) for name, tensor in loaded.items())
    written = json.loads(Path("out/evaluation/test/metrics.json").read_text("utf-8"))
    assert result.metrics["test"].to_dict() == written
    assert (Path("out") / "train.log").is_file()
    scored = dsft.evaluate(result.model, "out", image_size=16, report=ignore).to_dict()
    assert scored["loss"] == pytest.approx(written["loss"], rel=1e-5)
    with pytest.raises(CheckpointError, match=r"built by your own code \(.*:Three\), which dsft runs only where"):
        dsft.evaluate("out", report=ignore)


@pytest.mark.usefixtures("here")
def test_a_network_that_knows_the_classes_is_converted_and_is_the_teacher(workshop: Workshop) -> None:
    recipe = {**recipe_for(workshop), "convert": {"budget": {"macs": 0.6}}, "distill": {"teacher": "original"}}
    result = dsft.finetune(recipe, Three(), ["model.classes=data"], report=ignore)
    assert result.plan is not None
    assert result.plan.converted
    assert list(result.metrics) == ["val-teacher", "test-original", "test-converted", "val", "test"]


@pytest.mark.usefixtures("here")
def test_a_dry_run_a_recipe_and_a_second_run(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.dense_recipe), ["output.dir=out", "schedule.epochs=1"])
    dry = dsft.train(recipe, dry_run=True, report=ignore)
    assert (dry.folder, dry.metrics) == (None, {})
    assert not Path("out").exists()
    dsft.train(workshop.dense_recipe, overrides=["output.dir=out", "schedule.epochs=1"], report=ignore)
    with pytest.raises(OutputError, match="not empty"):
        dsft.train(recipe, report=ignore)
    assert dsft.train(recipe, overwrite=True, report=ignore).folder == Path("out")
    with pytest.raises(OutputError, match=r"--resume: the run in 'out' is finished"):
        dsft.train("out", resume=True, report=ignore)


def test_progress_is_displayed_unless_it_is_received(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    dsft.evaluate(workshop.dense, report=events.append)
    assert any(isinstance(event, Note) for event in events)
    assert capsys.readouterr().err == ""
    dsft.evaluate(workshop.dense)
    assert "test" in capsys.readouterr().err


def test_a_folder_is_scored_on_its_own_data(workshop: Workshop) -> None:
    written = json.loads((workshop.dense / "evaluation/val/metrics.json").read_text("utf-8"))
    assert dsft.evaluate(workshop.dense, split="val", report=ignore).to_dict() == written


def test_a_network_in_memory_is_left_as_it_was(workshop: Workshop) -> None:
    model = dsft.load(workshop.dense / "model").train()
    metrics = dsft.evaluate(model, workshop.pictures, image_size=32, classes=CLASSES, report=ignore)
    assert model.training
    assert metrics.count == 48
    reordered = dsft.evaluate(model, workshop.pictures, image_size=32, classes=("cat", "bee", "ant"), report=ignore)
    assert reordered.to_dict()["loss"] > metrics.to_dict()["loss"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "tset"}, InputError, "split: expected train, val, test, found 'tset'. Did you mean test?"),
        (
            {"task": "regression"},
            InputError,
            "task: expected classification, multi_label, segmentation, detection, restoration, found 'regression'",
        ),
        ({"classes": ["a"]}, CheckpointError, r"must name its 5 outputs, found 1 names"),
        ({"data": None}, DataError, "records no data. Give it with"),
        ({"model": nn.Linear(3, 2)}, ModelError, "running it on an image of 3 x 16 x 16 failed .*RuntimeError"),
        ({"model": Residual}, InputError, "model: expected a network or a folder, found the class Residual"),
    ],
)
def test_an_invalid_evaluation_is_reported(
    workshop: Workshop, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"model": Residual(), "data": workshop.pictures, "image_size": 16, "report": ignore, **arguments}
    with pytest.raises(error, match=message):
        dsft.evaluate(**given)


def test_an_invalid_recipe_is_reported(workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match=r"\(recipe\)  optim\.lr: expected a number > 0, found 'fast'"):
        dsft.finetune({**recipe_for(workshop), "optim": {"lr": "fast"}}, Three(), report=ignore)
    with pytest.raises(RecipeError, match=r"model: missing"):
        dsft.finetune(recipe_for(workshop), report=ignore)
    with pytest.raises(InputError, match="resume: cannot be combined with overwrite"):
        dsft.finetune(recipe_for(workshop), Three(), resume=True, overwrite=True, report=ignore)
    with pytest.raises(InputError, match="classes: applies to a network in memory"):
        dsft.evaluate(workshop.dense, classes=CLASSES, report=ignore)
