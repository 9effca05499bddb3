"""Several labels an image, from a table to predictions, through every command."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import dsft as library
from dsft.assembly import load_folder, load_split, open_splits
from dsft.choices import SplitName, TargetKind
from dsft.devices import Compute
from dsft.progress import ignore
from dsft.recipe import load_recipe
from tests.workshop import dsft

_DENSE = """\
version: 1
name: shapes
task: multi_label
model: {{source: timm, name: test_resnet}}
data: {{source: csv, root: {table}, label_separator: ";", image_size: 32, batch_size: 16, workers: 0}}
optim: {{lr: 1e-2}}
schedule: {{epochs: 8}}
evaluate: {{monitor: val/loss}}
output: {{dir: "{runs}/${{name}}"}}
"""
_SEPARABLE = """\
extends: dense.yaml
name: separable
model: {{source: dsft, name: null, path: "{runs}/shapes/model"}}
data: {{class_weights: auto}}
augment: {{mixup: 0.2, smoothing: 0.05}}
convert: {{budget: {{macs: 0.5}}, calibration: {{images: 32}}}}
schedule: {{epochs: 2}}
optim: {{lr: 1e-3}}
distill: {{teacher: original, logits: 0.5}}
"""


@dataclass(frozen=True)
class Shapes:
    """The folders of the runs, the pictures, and the recipes beside them."""

    folder: Path
    dense: Path
    separable: Path

    @property
    def table(self) -> Path:
        return self.folder / "images.csv"


def draw_shapes(labels: set[str], random: np.random.Generator) -> Image.Image:
    """Draw noise with a red disc, a blue square, both or none in it."""
    pixels = random.integers(60, 120, (32, 32, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:32, :32]
    if "disc" in labels:
        centre = random.integers(7, 25, 2)
        pixels[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 36] = (230, 40, 40)
    if "square" in labels:
        corner = random.integers(0, 22, 2)
        pixels[corner[0] : corner[0] + 10, corner[1] : corner[1] + 10] = (40, 40, 230)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    folder = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    lines = ["path,label"]
    for number in range(160):
        labels = [name for name, rate in (("disc", 0.5), ("square", 0.4)) if random.random() < rate]
        draw_shapes(set(labels), random).save(folder / "pictures" / f"{number:03d}.png")
        lines.append(f"pictures/{number:03d}.png,{';'.join(labels)}")
    (folder / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    runs = folder / "runs"
    for name, text in (("dense", _DENSE), ("separable", _SEPARABLE)):
        recipe = text.format(table=(folder / "images.csv").as_posix(), runs=runs.as_posix())
        (folder / f"{name}.yaml").write_text(recipe, encoding="utf-8")
    for verb, name in (("train", "dense"), ("finetune", "separable")):
        done = dsft(verb, folder / f"{name}.yaml")
        assert done.exit_code == 0, done.stderr
    return Shapes(folder, runs / "shapes", runs / "separable")


def metrics_of(run: Path, slot: str = "test") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation" / slot / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_it_learns_and_keeps_what_it_learnt_when_it_is_converted(shapes: Shapes) -> None:
    for run in (shapes.dense, shapes.separable):
        found = metrics_of(run)
        assert found["map"] > 0.9
        assert found["map_interval"][0] <= found["map"] <= found["map_interval"][1]
        assert found["task"] == "multi_label"
    assert {path.name for path in (shapes.separable / "evaluation").iterdir()} == {
        "val", "test", "val-teacher", "test-original", "test-converted",
    }  # fmt: skip
    conversion = json.loads((shapes.separable / "conversion.json").read_text(encoding="utf-8"))
    assert conversion["converted"]["macs"] <= 0.5 * conversion["original"]["macs"]
    manifest = json.loads((shapes.separable / "model" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["task"], manifest["classes"]) == ("multi_label", ["disc", "square"])
    lines = (shapes.dense / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    assert {"val/loss", "val/map", "val/exact_match", "val/micro_f1", "val/macro_f1"} < set(last)
    assert "val/top1" not in last


def test_the_scores_are_those_of_scikit_learn_on_the_models_own_answers(shapes: Shapes) -> None:
    found, section = metrics_of(shapes.dense), load_recipe(str(shapes.folder / "dense.yaml")).data
    network, compute = load_folder(shapes.dense), Compute(torch.device("cpu"))
    test = open_splits(section, ignore).get(SplitName.TEST)
    batches = list(load_split(test, section, network.preprocessing, compute).epoch(0))
    with torch.inference_mode():
        chances = torch.cat([network.module(batch.images) for batch in batches]).sigmoid().numpy()
    labels = {row["path"]: row["label"] for row in csv.DictReader(shapes.table.read_text("utf-8").splitlines())}
    truth = np.array([[name in labels[key] for name in ("disc", "square")] for key in test.keys])
    assert torch.cat([batch.targets for batch in batches]).tolist() == truth.astype(float).tolist()
    assert found["map"] == pytest.approx(average_precision_score(truth, chances), abs=1e-6)
    assert found["micro_f1"] == pytest.approx(f1_score(truth, chances > 0.5, average="micro"), abs=1e-6)
    with (shapes.dense / "evaluation" / "test" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [";".join(np.array(["disc", "square"])[row > 0.5]) for row in chances]
    assert [row["predicted"] for row in rows] == expected
    assert [row["target"] for row in rows] == [";".join(np.array(["disc", "square"])[row]) for row in truth]


def test_models_stand_side_by_side(shapes: Shapes, here: Path) -> None:
    done = dsft("evaluate", shapes.dense, shapes.separable, "--fit-temperature", "--out", "scores", "--json")
    assert done.exit_code == 0, done.stderr
    first, second = json.loads(done.stdout)["models"]
    assert {**first["metrics"], "calibrated": None} == metrics_of(shapes.dense)
    assert first["metrics"]["calibrated"]["fitted_on"] == "val"
    assert second["difference"]["map"] == pytest.approx(second["metrics"]["map"] - first["metrics"]["map"])
    names = {path.name for path in next(path for path in (here / "scores").iterdir() if path.is_dir()).iterdir()}
    assert {"metrics.json", "per_class.csv", "predictions.csv", "reliability.png"} <= names
    assert not names & {"confusion.csv", "confusion.png"}
    page = (here / "scores" / "report.html").read_text(encoding="utf-8")
    assert "mAP minus that of" in page
    assert "top-1" not in page
    table = dsft("evaluate", shapes.dense, shapes.separable, "--min-map", "0.5")
    assert table.exit_code == 0, table.stderr
    assert all(word in table.stdout for word in ("mAP", "micro F1", "macro F1", "mAP minus that of"))


@pytest.mark.usefixtures("here")
def test_scores_of_another_task_are_refused(shapes: Shapes) -> None:
    done = dsft("evaluate", shapes.dense, "--min-top1", "50")
    assert done.exit_code == 2
    assert "--min-top1: the models' task is multi_label, whose main score is mAP. Use --min-map" in done.stderr


def test_the_page_of_a_run_shows_its_scores(shapes: Shapes) -> None:
    page = (shapes.separable / "report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("mAP on test", "difference from original", "micro F1"))
    assert "top-1" not in page.replace("top-1 %", "")


def test_predictions_name_the_labels_over_the_threshold(shapes: Shapes, here: Path) -> None:
    random = np.random.default_rng(7)
    for number, labels in enumerate(({"disc"}, {"disc", "square"}, set[str]())):
        draw_shapes(labels, random).save(here / f"{number}.png")
    done = dsft("predict", shapes.dense, "0.png", "1.png", "2.png", "--format", "jsonl")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [{one["class"] for one in row["predictions"]} for row in rows] == [{"disc"}, {"disc", "square"}, set()]
    assert all(one["probability"] > 0.5 for row in rows for one in row["predictions"])
    everything = dsft("predict", shapes.dense, "2.png", "--threshold", "0", "--format", "csv").stdout.splitlines()
    assert everything[0] == "path,class,probability,class_2,probability_2"
    assert [
        cells.count(",") for cells in dsft("predict", shapes.dense, "1.png", "2.png", "--format", "csv").stdout.split()
    ]
    assert dsft("predict", shapes.dense, "2.png").stdout.split()[-3:] == ["2.png", "-", "-"]
    refused = dsft("predict", shapes.dense, "2.png", "--top-k", "2")
    assert refused.exit_code == 2
    assert "--top-k: requires a model that predicts one class per input" in refused.stderr


def test_an_exported_file_says_what_its_output_means(shapes: Shapes, here: Path) -> None:
    done = dsft("export", shapes.separable, "--out", "model.safetensors")
    assert done.exit_code == 0, done.stderr
    assert "same labels on 100.00%" in done.stdout
    beside = json.loads((here / "model.safetensors.json").read_text(encoding="utf-8"))
    assert (beside["task"], beside["probabilities"], beside["classes"]) == (
        "multi_label",
        "sigmoid",
        ["disc", "square"],
    )


@pytest.mark.slow
def test_budgets_are_compared_by_the_mean_average_precision(shapes: Shapes, here: Path) -> None:
    done = dsft("sweep", shapes.dense, "--budgets", "0.5", "--method", "svd", "--out", "sweep")
    assert done.exit_code == 0, done.stderr
    assert "mAP" in done.stdout
    assert "top-1" not in done.stdout
    assert (here / "sweep" / "sweep.png").is_file()


def test_a_conversion_without_training_keeps_the_task(shapes: Shapes, here: Path) -> None:
    done = dsft("convert", shapes.dense, "--budget", "macs=0.7", "--method", "svd", "--out", "converted")
    assert done.exit_code == 0, done.stderr
    assert load_folder(here / "converted").task.codec.target_kind is TargetKind.LABELS


@pytest.mark.usefixtures("here")
def test_the_data_can_be_checked(shapes: Shapes) -> None:
    done = dsft("data", "check", shapes.folder / "dense.yaml", "--json")
    assert done.exit_code == 0, done.stderr
    splits = json.loads(done.stdout)["splits"]
    rows = list(csv.DictReader(shapes.table.read_text(encoding="utf-8").splitlines()))
    for name in ("disc", "square"):
        assert sum(split["classes"][name] for split in splits.values()) == sum(name in row["label"] for row in rows)
    assert f"{sum(not row['label'] for row in rows)} of them without labels" in done.stderr


def test_a_model_of_one_class_an_image_is_not_scored_on_label_sets(shapes: Shapes, here: Path) -> None:
    library.save(load_folder(shapes.dense).module, here / "single", classes=["disc", "square"])
    done = dsft("evaluate", here / "single", "--data", shapes.folder / "dense.yaml")
    assert done.exit_code == 2
    assert (
        "its task, classification, predicts one class, and the ground truth of the data is any number of labels"
        in done.stderr
    )
    together = dsft("evaluate", shapes.dense, here / "single")
    assert together.exit_code == 2
    assert "models: expected models of one task" in together.stderr
    library.save(load_folder(shapes.dense).module, here / "several", classes=["disc", "square"], task="multi_label")
    assert load_folder(here / "several").task.codec.target_kind is TargetKind.LABELS
