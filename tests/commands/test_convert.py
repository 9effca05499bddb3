from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import dsft as library
from dsft.choices import Method
from dsft.commands import convert
from dsft.conversion import ConversionPlan, Request
from dsft.errors import ConversionError, OutputError
from dsft.separable import LowRankConv
from tests.workshop import Workshop, contents, dsft
from tests.zoo import redraw


def test_full_rank_keeps_every_answer(workshop: Workshop, here: Path) -> None:
    done = dsft("convert", workshop.dense, "--rank", "full", "--out", "new")
    assert done.exit_code == 0, done.stderr
    images = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        before = library.load(workshop.dense / "model")(images)
        after = library.load(here / "new")(images)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_the_new_folder_can_be_evaluated_and_tuned(workshop: Workshop, here: Path) -> None:
    options = ["--budget", "macs=0.5", "--calibrate", str(workshop.dense_recipe), "--out", "new", "--json"]
    done = dsft("convert", workshop.dense / "model", *options)
    assert done.exit_code == 0, done.stderr
    conversion = json.loads(done.stdout)
    assert conversion == json.loads((here / "new" / "conversion.json").read_text(encoding="utf-8"))
    # The finetune run converted the same network to the same budget, and scored it before training.
    scored = json.loads((workshop.separable / "evaluation/test-converted/metrics.json").read_text(encoding="utf-8"))
    metrics = json.loads(dsft("evaluate", "new", "--json").stdout)["models"][0]["metrics"]
    assert metrics == scored
    assert "images trained this model" in dsft("evaluate", "new", "--split", "train").stderr
    changes = ["model.path=new", "~convert", "~distill", "output.dir=tuned", "schedule.epochs=1"]
    assert dsft("finetune", workshop.separable_recipe, *changes, "freeze.0.until=1it").exit_code == 0


@pytest.mark.usefixtures("here")
def test_a_dry_run_plans_and_writes_nothing(workshop: Workshop) -> None:
    done = dsft("convert", workshop.dense, "--rank", "2", "--exclude", "layer4.*", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "convolutions converted by svd" in done.stdout
    assert "left out by include or exclude" in done.stdout
    assert contents(Path()) == {}
    done = dsft("convert", workshop.dense, "--rank", "2", "--exclude", "layer4.*", "--dry-run", "--json")
    plan = ConversionPlan.from_dict(json.loads(done.stdout))
    assert plan.converted
    assert not [layer.name for layer in plan.converted if layer.name.startswith("layer4.")]


@pytest.mark.usefixtures("here")
def test_a_loss_that_is_allowed_is_scored_on_val(workshop: Workshop) -> None:
    options = ["--budget", "max_drop=100", "--by", "params", "--out", "new", "--json"]
    done = dsft("convert", workshop.dense, *options)
    assert done.exit_code == 0, done.stderr
    assert "budget params=" in done.stderr
    conversion = json.loads(done.stdout)
    # Anything may be lost, so the smallest budget is the first and the only one that is tried.
    (trial,) = conversion["trials"]
    assert trial["share"] * conversion["original"]["params"] >= conversion["converted"]["params"]
    scored = json.loads(dsft("evaluate", "new", "--split", "val", "--json").stdout)["models"][0]["metrics"]
    assert trial["score"] == scored["top1"]
    refused = dsft("convert", workshop.dense, "--budget", "max_drop=0", "--data", "nowhere", "--out", "other")
    assert refused.exit_code == 2


def test_low_rank_is_saved_loaded_and_scored(workshop: Workshop, here: Path) -> None:
    options = ["--structures", "dw_pw,low_rank", "--rank", "2", "--out", "new", "--json"]
    done = dsft("convert", workshop.dense / "model", *options)
    assert done.exit_code == 0, done.stderr
    conversion = json.loads(done.stdout)
    assert {layer["structure"] for layer in conversion["layers"]} == {"dw_pw", "low_rank"}
    assert conversion["converted"]["params"] < conversion["original"]["params"]
    loaded = library.load(here / "new")
    assert [type(module) for module in loaded.modules() if isinstance(module, LowRankConv)]
    assert dsft("evaluate", "new", "--json").exit_code == 0
    shown = dsft("inspect", "new")
    assert "converted: low_rank" in " ".join(shown.stdout.split()), shown.stdout


def test_a_weights_file_with_the_network_that_it_belongs_to(here: Path) -> None:
    network = redraw(timm.create_model("test_resnet", num_classes=7))
    torch.save({"state_dict_ema": network.state_dict(), "state_dict": {}}, here / "own.pth")
    options = ["--model", "timm/test_resnet", "--image-size", "32", "--rank", "full", "--out", "new"]
    done = dsft("convert", "own.pth", *options)
    assert done.exit_code == 0, done.stderr
    assert "Weights of 'own.pth', entry 'state_dict_ema'" in done.stderr
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(library.load(here / "new")(images), network.eval()(images), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("here")
def test_calibration_images_fit_the_weights_and_are_on_record(workshop: Workshop) -> None:
    options = ["--budget", "macs=0.4", "--calibrate", str(workshop.pictures), "--calibration-images", "24"]
    done = dsft("convert", workshop.dense, *options, "--out", "new")
    assert done.exit_code == 0, done.stderr
    assert "converted by refit" in done.stdout
    done = dsft("convert", workshop.dense, *options, "--dry-run", "--json")
    assert json.loads(done.stdout)["method"] == "refit"
    done = dsft("evaluate", "new", "--split", "train", "--json")
    assert "images trained this model" in done.stderr
    done = dsft(
        "convert", workshop.dense, "--rank", "1", "--method", "svd", "--calibrate", str(workshop.pictures), "--dry-run"
    )
    assert done.exit_code == 2
    assert "calibration: goes with the method refit" in done.stderr
    done = dsft("convert", workshop.dense, "--rank", "1", "--method", "refit", "--dry-run")
    assert done.exit_code == 2
    assert "method refit: fits the weights to calibration data, found none" in done.stderr


@pytest.mark.usefixtures("here")
def test_fresh_weights_are_drawn_by_the_seed(workshop: Workshop) -> None:
    def weights(out: str, seed: int) -> dict[str, torch.Tensor]:
        result = convert.run(str(workshop.dense), Path(out), Request(rank=1, method=Method.FRESH, seed=seed))
        assert result.plan.method is Method.FRESH
        return library.load(out).state_dict()

    first, again, other = weights("a", 1), weights("b", 1), weights("c", 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_earlier_model_folder_is_overwritten_as_a_whole(workshop: Workshop, here: Path) -> None:
    shutil.copytree(workshop.dense / "model", here / "new")
    (here / "new" / "stale.txt").touch()
    assert dsft("convert", workshop.dense, "--rank", "1", "--out", "new", "--overwrite").exit_code == 0
    assert {path.name for path in (here / "new").iterdir()} == {
        "README.md",
        "conversion.json",
        "conversion.png",
        "manifest.json",
        "model.safetensors",
    }
    assert not isinstance(library.load("new").get_submodule("layer1.0.conv1"), nn.Conv2d)


def test_a_network_is_not_converted_twice(workshop: Workshop, here: Path) -> None:
    with pytest.raises(ConversionError, match=r"\d+ of its convolutions are separable already\. Leave the conversion"):
        convert.run(str(workshop.separable), here / "new", Request(rank=1))
    assert contents(here) == {}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("out", [".", "..", "/"])
def test_a_folder_that_cannot_be_replaced_is_refused_before_the_work(workshop: Workshop, out: str) -> None:
    with pytest.raises(OutputError, match="is the working directory, a parent of it, or a mount point"):
        convert.run(str(workshop.dense), Path(out), Request(rank=1))
