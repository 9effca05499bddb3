from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import dsft as library
from dsft.assembly import Source
from dsft.choices import Method
from dsft.commands import convert
from dsft.conversion import ConversionPlan, Request
from dsft.errors import ConversionError, OutputError
from dsft.separable import LowRankConv
from tests.workshop import CLASSES, Workshop, contents, dsft, write_pictures
from tests.zoo import redraw


def test_full_rank_keeps_every_answer(workshop: Workshop, here: Path) -> None:
    done = dsft("convert", workshop.dense, "--rank", "full", "--out", "new")
    assert done.exit_code == 0, done.stderr
    images = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        before = library.load(workshop.dense / "model")(images)
        after = library.load(here / "new")(images)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # each step has tests of its own
def test_the_new_folder_can_be_evaluated_and_tuned(workshop: Workshop, here: Path) -> None:
    options = ["--budget", "macs=0.5", "--data", str(workshop.dense_recipe), "--out", "new", "--json"]
    done = dsft("convert", workshop.dense / "model", *options)
    assert done.exit_code == 0, done.stderr
    conversion = json.loads(done.stdout)
    assert conversion == json.loads((here / "new" / "conversion.json").read_text(encoding="utf-8"))
    # The finetune run converted the same network to the same budget, and scored it before training.
    scored = json.loads((workshop.separable / "evaluation/test-converted/metrics.json").read_text(encoding="utf-8"))
    metrics = json.loads(dsft("evaluate", "new", "--json").stdout)["models"][0]["metrics"]
    assert metrics == scored
    assert "images trained or calibrated this model" in dsft("evaluate", "new", "--split", "train").stderr
    changes = ["model.path=new", "~convert", "~distill", "output.dir=tuned", "schedule.epochs=1"]
    assert dsft("finetune", workshop.separable_recipe, *changes, "freeze.0.until=1it").exit_code == 0


@pytest.mark.usefixtures("here")
def test_a_network_that_a_budget_left_as_it_was_can_be_converted(workshop: Workshop) -> None:
    done = dsft("convert", workshop.dense, "--budget", "macs=1", "--out", "same")
    assert done.exit_code == 0, done.stderr
    assert "no convolution is converted" in done.stderr
    changes = ["model.path=same", "distill.teacher=original", "output.dir=tuned", "schedule.epochs=1"]
    done = dsft("finetune", workshop.separable_recipe, *changes)
    assert done.exit_code == 0, done.stderr
    assert ConversionPlan.from_dict(json.loads(Path("tuned/checkpoints/plan.json").read_text("utf-8"))).converted


@pytest.mark.usefixtures("here")
def test_a_dry_run_plans_and_writes_nothing(workshop: Workshop) -> None:
    done = dsft("convert", workshop.dense, "--rank", "2", "--exclude", "layer4.*", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "(method refit)" in done.stdout
    assert "not selected by include and exclude" in done.stdout
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


@pytest.mark.usefixtures("here")
def test_the_verdict_scores_a_limited_part_of_val(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "VERDICT_IMAGES", 3)
    options = ["--rank", "1", "--method", "svd", "--overwrite", "--out", "new"]
    done = dsft("convert", workshop.dense, *options)
    assert done.exit_code == 0, done.stderr
    assert "scored on 3 of 5 images of val" in done.stdout
    assert json.loads(Path("new/conversion.json").read_text("utf-8"))["verdict"]["images"] == 3
    # A search for the largest allowed loss scores all of it.
    done = dsft("convert", workshop.dense, *options[2:], "--budget", "max_drop=100", "--by", "params")
    assert done.exit_code == 0, done.stderr
    assert "points, 5 images)" in done.stdout


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


def test_weights_take_images_of_the_size_that_the_recipe_of_the_data_states(here: Path) -> None:
    torch.save(redraw(timm.create_model("test_resnet", num_classes=10)).state_dict(), here / "own.pth")
    options = ["--model", "timm/test_resnet", "--data", "digits_dense", "--classes", "data", "--rank", "1"]

    def converted_size(*further: str) -> list[int]:
        done = dsft("convert", "own.pth", *options, *further, "--method", "svd", "--out", "new", "--overwrite")
        assert done.exit_code == 0, done.stderr
        size: list[int] = json.loads((here / "new" / "manifest.json").read_bytes())["preprocessing"]["image_size"]
        return size

    assert converted_size() == [32, 32]
    assert converted_size("data.image_size=[40,48]") == [40, 48]
    assert converted_size("--image-size", "64") == [64, 64]


@pytest.mark.usefixtures("here")
def test_calibration_images_fit_the_weights_and_are_on_record(workshop: Workshop) -> None:
    options = ["--budget", "macs=0.4", "--data", str(workshop.pictures), "--calibration-images", "24"]
    done = dsft("convert", workshop.dense, *options, "--out", "new")
    assert done.exit_code == 0, done.stderr
    assert "calibration: 24 images of" in done.stderr
    assert "(method refit)" in done.stdout
    done = dsft("convert", workshop.dense, *options, "--dry-run", "--json")
    assert json.loads(done.stdout)["method"] == "refit"
    done = dsft("evaluate", "new", "--split", "train", "--json")
    assert "images trained or calibrated this model" in done.stderr


@pytest.mark.usefixtures("here")
def test_a_recovery_is_reported_and_never_makes_it_worse(workshop: Workshop) -> None:
    options = ["--budget", "macs=0.4", "--structures", "auto", "--data", str(workshop.pictures), "--recover", "--json"]
    done = dsft("convert", workshop.dense, *options, "--out", "new")
    assert done.exit_code == 0, done.stderr
    assert "recovery in" in done.stderr
    recovery = json.loads(done.stdout)["recovery"]
    assert recovery["steps"] >= 1
    assert recovery["after"] <= recovery["before"]
    refused = dsft("convert", workshop.dense, *options, "--method", "svd", "--out", "other")
    assert refused.exit_code == 2
    assert "recover: trains on calibration data" in refused.stderr


def test_without_images_a_network_of_photographs_is_calibrated_on_two(here: Path) -> None:
    torch.save(redraw(timm.create_model("test_resnet", num_classes=7)).state_dict(), here / "own.pth")
    options = ["--model", "timm/test_resnet", "--image-size", "32", "--calibration-images", "16", "--out", "new"]
    done = dsft("convert", "own.pth", *options, "--budget", "macs=0.8", "--json")
    assert done.exit_code == 0, done.stderr
    assert "fitted to crops of two photographs" in " ".join(done.stderr.split())
    # Photographs are nobody's data, so none is on record.
    assert not json.loads((here / "new" / "manifest.json").read_bytes())["fingerprints"]
    assert (
        json.loads(dsft("convert", "own.pth", *options[:-2], "--budget", "macs=0.8", "--dry-run", "--json").stdout)[
            "method"
        ]
        == "refit"
    )


@pytest.mark.usefixtures("here")
def test_a_run_folder_is_calibrated_and_scored_on_the_data_that_it_records(workshop: Workshop, here: Path) -> None:
    done = dsft("convert", workshop.dense, "--budget", "macs=0.5", "--out", "new")
    assert done.exit_code == 0, done.stderr
    assert "(method refit)" in done.stdout
    assert "no images" not in done.stderr
    conversion = json.loads((here / "new" / "conversion.json").read_text(encoding="utf-8"))
    verdict = conversion["verdict"]
    ratio = conversion["converted"]["latency_ms"] / conversion["original"]["latency_ms"]
    scores = [
        json.loads(dsft("evaluate", folder, "--split", "val", "--json").stdout)["models"][0]["metrics"]["top1"]
        for folder in (workshop.dense, "new")
    ]
    found = (verdict["split"], verdict["metric"], verdict["score_before"], verdict["score_after"])
    assert found == ("val", "top1", *scores)
    assert (verdict["time_ratio"], verdict["runtime"]) == (ratio, "eager")
    assert f"top-1 on val: {scores[0]:.2f} % -> {scores[1]:.2f} %" in done.stdout
    # Nothing but the run's own training is on record.
    own, new = (json.loads((at / "manifest.json").read_bytes()) for at in (workshop.dense / "model", here / "new"))
    assert all(new[key] == own[key] for key in ("data", "fingerprints", "ancestors", "classes"))


def test_without_images_it_says_so_and_names_the_way_out(workshop: Workshop, here: Path) -> None:
    options = ["--budget", "macs=0.5", "--out", "new", "--json"]
    gone = dsft("convert", workshop.dense, "data.root=gone", *options)
    assert gone.exit_code == 0, gone.stderr
    assert "the data that '" in gone.stderr
    assert "no images to calibrate on" in gone.stderr
    assert "Give some with --data RECIPE|FOLDER" in gone.stderr
    verdict = json.loads(gone.stdout)["verdict"]
    assert (verdict["split"], verdict["score_after"]) == (None, None)
    assert verdict["advice"].startswith("Not scored: there are no images. Give some with --data")
    refused = dsft("convert", workshop.dense, "data.root=gone", "--method", "refit", "--rank", "1", "--out", "other")
    assert refused.exit_code == 2
    assert "--method refit: fits the weights to images, and '" in refused.stderr
    assert not (here / "other").exists()


def test_a_weights_file_is_converted_scored_and_evaluated_in_one_line_each(workshop: Workshop, here: Path) -> None:
    torch.save(library.load(workshop.dense / "model").state_dict(), here / "my.pth")
    source = ["my.pth", "--model", "timm/test_resnet", "--image-size", "32", "--budget", "macs=0.5", "--out", "new"]
    done = dsft("convert", *source, "--classes", "data", "--data", workshop.pictures)
    assert done.exit_code == 0, done.stderr
    assert "classes: ant, bee, cat (from the data; the order must be that of the network's outputs)" in done.stderr
    assert "top-1 on val: " in done.stdout
    assert dsft("evaluate", "new", "--split", "val").exit_code == 0
    # Without names it is converted, says why it is not scored, and can be given names later.
    done = dsft("convert", *source, "--overwrite", "--data", workshop.pictures)
    assert done.exit_code == 0, done.stderr
    unscored = "the class names of 'my.pth' are unknown. Give them with --classes"
    assert f"the conversion is not scored: {unscored}" in done.stderr
    assert f"accuracy: not scored, since {unscored}" in " ".join(done.stdout.split())
    refused = dsft("evaluate", "new")
    assert (refused.exit_code, "Give them with --classes FILE" in refused.stderr) == (2, True)
    (here / "names.txt").write_text("ant\nbee\ncat\n", encoding="utf-8")
    assert dsft("evaluate", "new", "--classes", "names.txt").exit_code == 0
    swept = dsft("sweep", *source[:5], "--budgets", "0.5", "--classes", "data", "--data", workshop.pictures)
    assert swept.exit_code == 0, swept.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0.5"], "--budget: expected macs=SHARE, params=SHARE, latency=SHARE or max_drop=POINTS"),
        (["--budget", "macs=1.5"], "--budget macs: expected a share above 0 and up to 1, found 1.5"),
        (["--budget", "macs=50"], "expected a share above 0 and up to 1, found 50. For 50 % write 0.5."),
        (["--rank", "few"], "--rank: expected a whole number of at least 1, or full, found 'few'"),
        (["--rank", "1", "--classes", "names.txt"], "--classes 'names.txt': expected a text file"),
        (
            ["--rank", "1", "--data", "nowhere"],
            "--data: expected a folder of images or other inputs, the folder of a run",
        ),
        (["--rank", "1", "train.seed=1"], "train: only keys of data can be changed here"),
        (["--budget", "max_drop=1", "--data", "empty"], "--data 'empty': expected a folder with images, found none"),
        (["--budget", "max_drop=1", "--data", "others"], "does not know these classes of the data: dog, elk"),
        (["--rank", "1", "--classes", "data", "--data", "others"], "has its own 3: ant, bee, cat. Leave --classes out"),
        (["--rank", "1", "--data", "broken"], ".png' cannot be read"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    workshop: Workshop, here: Path, arguments: list[str], message: str
) -> None:
    (here / "empty").mkdir()
    write_pictures(here / "others", {"dog": 8, "elk": 8})
    write_pictures(here / "broken", dict.fromkeys(CLASSES, 8))
    for path in (here / "broken").rglob("*.png"):
        path.write_bytes(b"no image")
    before = contents(here)
    done = dsft("convert", workshop.dense, *arguments, "--out", "new")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert contents(here) == before


def test_data_of_other_classes_calibrates_and_does_not_score(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "others", {"dog": 8, "elk": 8})
    done = dsft("convert", workshop.dense, "--rank", "2", "--data", "others", "--out", "new")
    assert done.exit_code == 0, done.stderr
    assert "(method refit)" in done.stdout
    assert "the conversion is not scored: model '" in done.stderr
    assert "does not know these classes of the data: dog, elk. It knows ant, bee, cat." in done.stderr


@pytest.mark.usefixtures("here")
def test_fresh_weights_are_drawn_by_the_seed(workshop: Workshop) -> None:
    def weights(out: str, seed: int) -> dict[str, torch.Tensor]:
        result = convert.run(Source(str(workshop.dense)), Path(out), Request(rank=1, method=Method.FRESH, seed=seed))
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
        "config.json",
        "model.safetensors",
    }
    assert not isinstance(library.load("new").get_submodule("layer1.0.conv1"), nn.Conv2d)


def test_a_network_is_not_converted_twice(workshop: Workshop, here: Path) -> None:
    with pytest.raises(ConversionError, match=r"\d+ of its convolutions are converted already\. Train it further"):
        convert.run(Source(str(workshop.separable)), here / "new", Request(rank=1))
    assert contents(here) == {}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("out", [".", "..", "/"])
def test_a_folder_that_cannot_be_replaced_is_refused_before_the_work(workshop: Workshop, out: str) -> None:
    with pytest.raises(OutputError, match="is the working directory, a parent of it, or a mount point"):
        convert.run(Source(str(workshop.dense)), Path(out), Request(rank=1))
