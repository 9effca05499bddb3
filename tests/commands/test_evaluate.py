from __future__ import annotations

import csv
import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from torch.nn import functional

import dsft as library
from dsft.artifact.locate import find_model_folder
from dsft.assembly import Source, load_folder, load_split, open_splits
from dsft.assembly.named_data import NamedData
from dsft.choices import SplitName
from dsft.commands import evaluate
from dsft.devices import Compute
from dsft.errors import DataError, InputError
from dsft.progress import ignore
from tests.workshop import CLASSES, Workshop, contents, dsft, write_pictures, write_split_pictures
from tests.zoo import Residual

CPU = Compute(torch.device("cpu"))


def scores_of(*arguments: str | Path) -> dict[str, Any]:
    done = dsft("evaluate", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def predictions_of(run: Path, slot: str = "test") -> list[list[str]]:
    with (run / "evaluation" / slot / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def written_by(run: Path, slot: str = "test") -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run / "evaluation" / slot / "metrics.json").read_text(encoding="utf-8"))
    return metrics


@pytest.mark.parametrize("run", ["dense", "separable"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_model_folder_alone_gives_what_the_run_found_to_the_bit(
    workshop: Workshop, here: Path, run: str, split: str
) -> None:
    folder: Path = getattr(workshop, run)
    # Elsewhere, and with nothing else of the run beside it.
    shutil.copytree(folder / "model", here / "alone")
    result = scores_of("alone", "--split", split, "--out", "scores")
    assert [row["metrics"] for row in result["models"]] == [written_by(folder, split)]
    found = contents(here / "scores" / "alone")
    assert found == contents(folder / "evaluation" / split)


@pytest.mark.usefixtures("here")
def test_models_stand_side_by_side(workshop: Workshop) -> None:
    result = scores_of(workshop.dense, workshop.separable / "model")
    assert list(result) == ["measured_on", "models"]
    first, second = result["models"]
    costs = ["params", "macs", "memory_bytes", "latency_ms", "throughput", "throughput_batch", "file_bytes"]
    assert list(first) == ["model", "metrics", *costs, "difference", "untrained"]
    assert (first["model"], second["model"]) == (str(workshop.dense), str(workshop.separable / "model"))
    assert first["metrics"] == written_by(workshop.dense)
    assert second["metrics"] == written_by(workshop.separable)
    conversion = json.loads((workshop.separable / "conversion.json").read_text(encoding="utf-8"))
    for row, costs in ((first, conversion["original"]), (second, conversion["converted"])):
        assert (row["params"], row["macs"]) == (costs["params"], costs["macs"])
        assert row["latency_ms"] > 0 < row["throughput"]
        weights = find_model_folder(Path(row["model"])) / "model.safetensors"
        assert row["file_bytes"] == weights.stat().st_size > 4 * row["params"]
        assert row["memory_bytes"] > 4 * row["params"]
    assert first["difference"] is None
    answers = [predictions_of(run) for run in (workshop.dense, workshop.separable)]
    right = [{key for key, target, guess, _ in rows if target == guess} for rows in answers]
    difference = second["difference"]
    assert difference["only_other_right"] == len(right[0] - right[1])
    assert difference["only_this_right"] == len(right[1] - right[0])
    assert difference["top1"] == pytest.approx(second["metrics"]["top1"] - first["metrics"]["top1"])
    done = dsft("evaluate", workshop.dense, workshop.separable)
    assert "Classes of test" not in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(str(workshop.separable))]
    scores, differences, calibration, sizes, speeds = rows
    assert scores[5] == f"{second['metrics']['top1']:.2f}"
    assert differences[1] == f"{difference['top1']:+.2f}"
    assert calibration[-1] == f"{100 * second['metrics']['ece']:.2f}"
    assert f"{second['macs'] / first['macs']:.3f}" in sizes
    assert len(speeds) == 5
    assert dsft("evaluate", workshop.dense, workshop.separable, "--per-class").stdout.count("Classes of test") == 2
    assert dsft("evaluate", workshop.dense).stdout.count("Classes of test") == 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("split", "role"), [("train", "trained or calibrated"), ("val", "selected"), ("test", None)])
def test_images_that_made_the_model_are_warned_of(workshop: Workshop, split: str, role: str | None) -> None:
    done = dsft("evaluate", workshop.separable, "--split", split)
    assert done.exit_code == 0, done.stderr
    count = {"train": 33, "val": 5, "test": 10}[split]
    expected = [
        f"warning: {workshop.separable}: {count} of these {count} images {role} this model, or one that it was made "
        "from; its score on them is not a held-out score."
    ]
    assert [line for line in done.stderr.splitlines() if "warning" in line] == (expected if role else [])


@pytest.mark.usefixtures("here")
def test_so_is_the_folder_that_its_splits_were_drawn_from(workshop: Workshop) -> None:
    done = dsft("evaluate", workshop.dense, "--data", workshop.pictures)
    assert done.exit_code == 0, done.stderr
    assert "33 of these 48 images trained or calibrated this model" in done.stderr
    assert "5 of these 48 images selected this model" in done.stderr


@pytest.mark.usefixtures("here")
def test_times_are_measured_to_compare_models_or_on_request(workshop: Workshop) -> None:
    def times(*arguments: str | Path) -> list[bool]:
        return [row["latency_ms"] is not None for row in scores_of(*arguments)["models"]]

    assert times(workshop.dense) == [False]
    assert times(workshop.dense, "--time") == [True]
    assert times(workshop.dense, workshop.separable, "--no-time") == [False, False]
    done = dsft("evaluate", workshop.dense, "--out", "scores")
    assert "latency" not in done.stdout.lower()
    assert "Memory: " in done.stdout
    assert dsft("evaluate", workshop.dense, "--time").stdout.count("images/s") == 1


def test_a_plain_folder_is_scored_whole(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "new", dict.fromkeys(CLASSES, 3), seed=9)
    done = dsft("evaluate", workshop.dense, "--data", "new", "--json")
    metrics = json.loads(done.stdout)["models"][0]["metrics"]
    assert (metrics["split"], metrics["count"]) == ("test", 9)
    assert done.stderr == ""


def test_a_plain_folder_may_lack_classes(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "new", {"bee": 3}, seed=9)
    done = dsft("evaluate", workshop.dense, "--data", "new", "--json")
    metrics = json.loads(done.stdout)["models"][0]["metrics"]
    assert [row["support"] for row in metrics["per_class"]] == [0, 3, 0]
    assert "warning: data: the test split has no images of 'ant', 'cat'" in done.stderr


def test_a_plain_folder_is_split_only_on_request(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "new", dict.fromkeys(CLASSES, 8), seed=9)
    done = dsft("evaluate", workshop.dense, "--data", "new", "--split", "val")
    assert done.exit_code == 2
    assert "'new' is a plain folder of classes, which is scored as a whole, so it has no val split" in done.stderr
    parts = ["data.val.fraction=0.25", "data.test.fraction=0.125"]
    done = dsft("evaluate", workshop.dense, "--data", "new", *parts, "--split", "val", "--json", "--no-time")
    assert json.loads(done.stdout)["models"][0]["metrics"]["count"] == 6
    done = dsft("evaluate", workshop.dense, "--data", "new", *parts, "--json", "--no-time")
    assert json.loads(done.stdout)["models"][0]["metrics"]["count"] == 3


def test_classes_of_a_plain_folder_that_the_model_does_not_know(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "new", {"bee": 3, "wasp": 3}, seed=9)
    done = dsft("evaluate", workshop.dense, "--data", "new")
    assert done.exit_code == 2
    assert "does not know these classes of the data: wasp. It knows ant, bee, cat." in done.stderr


@pytest.mark.parametrize(("split", "count"), [("val", 9), ("test", 9), ("train", 18)])
def test_of_a_folder_with_splits_one_is_scored(workshop: Workshop, here: Path, split: str, count: int) -> None:
    write_split_pictures(here / "new")
    done = dsft("evaluate", workshop.dense, "--data", "new", "--split", split, "--json")
    metrics = json.loads(done.stdout)["models"][0]["metrics"]
    assert (metrics["split"], metrics["count"]) == (split, count)
    assert done.stderr.count("new/train' as train") == 1


@pytest.mark.usefixtures("here")
def test_a_recipe_names_the_data_and_may_be_changed(workshop: Workshop) -> None:
    data = ["--data", str(workshop.dense_recipe)]
    assert scores_of(workshop.dense, *data)["models"][0]["metrics"] == written_by(workshop.dense)
    changed = scores_of(workshop.dense, *data, "data.test.fraction=0.5")["models"][0]["metrics"]
    assert changed["count"] == 24
    own = scores_of(workshop.dense, "data.test.fraction=0.5")["models"][0]["metrics"]
    assert own == changed
    done = dsft("evaluate", workshop.dense, "train.seed=1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "train: only keys of data can be changed here, such as data.seed=1" in done.stderr
    done = dsft("evaluate", workshop.dense, "data.rot=1")
    assert done.exit_code == 2
    assert "data.rot: unknown key. Did you mean data.root?" in done.stderr
    done = dsft("evaluate", "data.seed=1")
    assert done.exit_code == 2
    assert "MODEL: a model or run folder is needed, found only overrides: data.seed=1" in done.stderr


def test_what_it_writes(workshop: Workshop, here: Path) -> None:
    result = scores_of(workshop.dense, workshop.separable, "--out", "scores")
    file = json.loads((here / "scores" / "models.json").read_text(encoding="utf-8"))
    assert file.pop("versions")["dsft"] == importlib.metadata.version("dsft")
    assert isinstance(file.pop("command"), list)
    assert file.pop("inputs") == "image"
    slots = [model.pop("slot") for model in file["models"]]
    assert file == result
    assert set(slots) == {path.name for path in (here / "scores").iterdir() if path.is_dir()}
    folders = [path for path in (here / "scores").iterdir() if path.is_dir()]
    assert len(folders) == 2
    for folder in folders:
        tables = {"metrics.json", "per_class.csv", "confusion.csv", "predictions.csv"}
        is_right = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["top1"] == 100
        pictures = {"confusion.png", "reliability.png", *(() if is_right else ("mistakes.png",))}
        assert {path.name for path in folder.iterdir()} == tables | pictures
    scores_of(workshop.dense, "--out", "scores", "--overwrite")
    assert len([path for path in (here / "scores").iterdir() if path.is_dir()]) == 1


def test_models_with_similar_paths_have_separate_folders(
    workshop: Workshop, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/b", "a-b"):
        shutil.copytree(workshop.dense / "model", here / name)
    scores_of("a/b", "a-b", "--out", "scores")
    assert {path.name for path in (here / "scores").iterdir()} == {"1-a-b", "2-a-b", "models.json", "report.html"}
    monkeypatch.chdir(here / "a-b")
    scores_of(".", "--out", "../inside")
    assert {path.name for path in (here / "inside").iterdir()} == {"a-b", "models.json", "report.html"}


def test_a_model_that_fails_leaves_nothing_of_those_before_it(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "pictures", {"dog": 8, "elk": 8})
    done = dsft("train", workshop.dense_recipe, "data.root=pictures", "output.dir=other", "schedule.epochs=1")
    assert done.exit_code == 0, done.stderr
    done = dsft("evaluate", workshop.dense, "other", "--out", "scores")
    assert done.exit_code == 2
    assert "model 'other': does not know these classes of the data: ant, bee, cat. It knows dog, elk" in done.stderr
    assert not (here / "scores").exists()


def test_a_network_of_the_users_own(here: Path) -> None:
    library.save(Residual(), here / "own", classes=list("abcde"))
    with pytest.raises(InputError, match=r"was built by your own code, .*--builder FILE:FUNCTION"):
        evaluate.run([Source(str(here / "own"))])


def test_a_converted_checkpoint_says_what_it_lacks(workshop: Workshop, here: Path) -> None:
    weights = workshop.dense / "model" / "model.safetensors"
    done = dsft("convert", weights, "--model", "timm/test_resnet", "--rank", "1", "--image-size", "32", "--out", "new")
    assert done.exit_code == 0, done.stderr
    with pytest.raises(DataError, match=r"records no data\. Give it with --data"):
        evaluate.run([Source(str(here / "new"))])
    with pytest.raises(DataError, match="its class names are unknown"):
        evaluate.run([Source(str(here / "new"))], data=NamedData(str(workshop.pictures)))


@pytest.mark.usefixtures("here")
def test_a_temperature_is_fitted_on_val(workshop: Workshop) -> None:
    plain = scores_of(workshop.dense)["models"][0]["metrics"]
    scaled = scores_of(workshop.dense, "--fit-temperature")["models"][0]["metrics"]
    calibrated = scaled["calibrated"]
    assert {**scaled, "calibrated": None} == plain
    assert calibrated["fitted_on"] == "val"
    # The same from the network and the images, by another way.
    network = load_folder(workshop.dense)
    section = network.trainings[-1].section()
    split = open_splits(section, ignore).get(SplitName.VAL)
    batches = load_split(split, section, network.preprocessing, CPU).epoch(0)
    logits = torch.cat([network.module(batch.images).detach().double() for batch in batches])
    targets = torch.tensor(split.targets)

    def likelihood(temperature: float) -> float:
        return functional.cross_entropy(logits / float(temperature), targets).item()

    best = minimize_scalar(likelihood, bounds=(0.05, 20), method="bounded")
    assert calibrated["temperature"] == pytest.approx(best.x, rel=1e-3)
    done = dsft("evaluate", workshop.dense, "--fit-temperature")
    assert f"{calibrated['temperature']:.3f}" in done.stdout


def test_a_temperature_is_never_fitted_on_what_is_scored(workshop: Workshop, here: Path) -> None:
    done = dsft("evaluate", workshop.dense, "--fit-temperature", "--split", "val")
    assert done.exit_code == 2
    assert "--fit-temperature: the temperature is fitted on val, so val cannot be scored with it" in done.stderr
    write_pictures(here / "new", dict.fromkeys(CLASSES, 3), seed=9)
    done = dsft("evaluate", workshop.dense, "--fit-temperature", "--data", "new")
    assert done.exit_code == 2
    assert "'new' is a plain folder of classes without one" in done.stderr


@pytest.mark.usefixtures("here")
def test_a_minimum_of_top1_decides_the_exit_code(workshop: Workshop) -> None:
    top1 = written_by(workshop.dense)["top1"]
    assert dsft("evaluate", workshop.dense, "--min-top1", str(top1)).exit_code == 0
    done = dsft("evaluate", workshop.dense, "--min-top1", str(top1 + 0.01), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["models"][0]["metrics"]["top1"] == top1
    assert f"--min-top1: expected at least {top1 + 0.01:.2f} %, found {top1:.2f} % of '{workshop.dense}'" in done.stderr
    for number in ("nan", "101", "-1"):
        assert dsft("evaluate", workshop.dense, "--min-top1", number).exit_code == 2


def test_runs_show_their_score_before_fine_tuning(workshop: Workshop) -> None:
    rows = scores_of(workshop.dense, workshop.separable)["models"]
    assert rows[0]["untrained"] is None
    assert rows[1]["untrained"] == written_by(workshop.separable, "test-converted")["top1"]
    done = dsft("evaluate", workshop.dense, workshop.separable)
    headings = next(line for line in done.stdout.splitlines() if "macro F1" in line)
    assert headings.split()[:5] == ["model", "split", "images", "loss", "untrained"]
    # Scored on other data, or as a model folder, nothing is known of a time before.
    elsewhere = scores_of(workshop.separable, "--data", workshop.pictures)["models"]
    alone = scores_of(workshop.separable / "model")["models"]
    assert elsewhere[0]["untrained"] is alone[0]["untrained"] is None
