"""Detection through the commands: a small FCOS on scenes of digits, written as COCO files."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dsft as api
from dsft.assembly import load_folder, load_split, open_splits
from dsft.assembly.inputs import as_images
from dsft.choices import SplitName, TargetKind
from dsft.data import PictureTransform
from dsft.data.sources.scenes import DIGITS, draw_scene, scene_boxes
from dsft.devices import Compute
from dsft.errors import InterruptedRun
from dsft.models import Builder
from dsft.progress import Advanced, Event, ignore
from dsft.recipe import load_recipe
from dsft.tasks.pictures import class_colours
from tests.commands.test_several_processes import torchrun_worker
from tests.distributed.siblings import free_port
from tests.forkserver import fork_server
from tests.metrics.test_detection import coco_precisions
from tests.runs import Runs
from tests.workshop import Outcome, dsft

_DENSE = """\
version: 1
name: dense
task: detection
model: {{source: python, builder: "{builder}"}}
data: {{source: coco, root: "{root}", image_size: 48, batch_size: 4, workers: 0}}
augment: {{hflip: 0.5, scale: [0.7, 1.0]}}
optim: {{lr: 2e-3}}
schedule: {{epochs: 1}}
output: {{dir: "{runs}/${{name}}"}}
"""
_SEPARABLE = """\
extends: dense.yaml
name: separable
model: {{source: dsft, path: "{runs}/dense/model"}}
convert: {{budget: {{macs: 0.6}}, structures: [dw_pw], calibration: {{images: 8}}}}
distill: {{teacher: original, logits: 0, features: 0.5}}
"""
_NETWORK = """\
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

def make():
    backbone = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1))
    backbone.out_channels = 32
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    return FCOS(backbone, 6, anchor_generator=anchors, head=FCOSHead(32, 1, 6, num_convs=1), score_thresh=0.0)
"""


@dataclass(frozen=True)
class Work(Runs):
    """The folder of the pictures, recipes and runs."""

    @property
    def builder(self) -> str:
        return f"{(self.folder / 'net.py').as_posix()}:make"

    def run(self, *arguments: str | Path) -> Outcome:
        """Run a command with the builder, which must succeed."""
        return super().run(*arguments, "--builder", self.builder)


def write_scenes(root: Path) -> None:
    for split, count in ((SplitName.TRAIN, 12), (SplitName.VAL, 3), (SplitName.TEST, 5)):
        (root / split).mkdir(parents=True)
        images, annotations = [], list[dict[str, Any]]()
        for index in range(count):
            Image.fromarray(draw_scene(split, index)[0]).save(root / split / f"{index}.png")
            images.append({"id": 3 * index + 1, "file_name": f"{index}.png"})
            for left, top, right, bottom, digit, _ in scene_boxes(split, index).tolist():
                box = [left, top, right - left, bottom - top]
                annotations.append({"image_id": 3 * index + 1, "category_id": 2 * int(digit) + 5, "bbox": box})
        # An image without boxes is one too.
        Image.new("L", (48, 48), 40).save(root / split / "none.png")
        images.append({"id": 0, "file_name": "none.png"})
        categories = [{"id": 2 * digit + 5, "name": str(digit)} for digit in DIGITS]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / split / "boxes.json").write_text(json.dumps(document), encoding="utf-8")


def write_work(folder: Path) -> Work:
    work = Work(folder)
    write_scenes(folder / "scenes")
    (folder / "net.py").write_text(_NETWORK, encoding="utf-8")
    places = {"root": folder / "scenes", "runs": folder / "runs", "builder": work.builder}
    for name, text in (("dense", _DENSE), ("separable", _SEPARABLE)):
        (folder / f"{name}.yaml").write_text(text.format(**places), encoding="utf-8")
    return work


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    found = write_work(tmp_path_factory.mktemp("detection"))
    found.run("train", found.recipe)
    found.run("finetune", found.folder / "separable.yaml")
    return found


def test_a_run_converts_scores_and_writes_its_page(work: Work) -> None:
    found = work.metrics(work.separable)
    assert found["task"] == "detection"
    assert found["count"] == 6
    assert [each["name"] for each in found["per_class"]] == [str(digit) for digit in DIGITS]
    low, high = found["map_interval"]
    assert low <= found["map"] <= high
    assert "loss" not in found
    conversion = json.loads((work.separable / "conversion.json").read_text(encoding="utf-8"))
    assert conversion["converted"]["macs"] <= 0.6 * conversion["original"]["macs"]
    assert (work.separable / "evaluation" / "test" / "worst.png").is_file()
    page = (work.separable / "report.html").read_text(encoding="utf-8")
    assert "Images, lowest f1 first" in page
    assert "mAP50" in page


def test_the_scores_are_those_of_pycocotools_on_the_models_own_outputs(work: Work) -> None:
    network = load_folder(work.dense, _builder(work))
    recipe = load_recipe(str(work.recipe))
    split = open_splits(recipe.data, ignore).get(SplitName.TEST)
    loader = load_split(split, recipe.data, network.preprocessing, Compute(torch.device("cpu")))
    network.module.eval()
    with torch.inference_mode():
        pairs = [(network.module(batch.images), batch.targets) for batch in loader.epoch(0)]
    outputs, targets = (torch.cat(column) for column in zip(*pairs, strict=True))
    assert (outputs[:, :, 5] >= 0).sum() > 100
    expected, found = coco_precisions(outputs, targets, len(DIGITS)), work.metrics(work.dense)
    with_boxes = (expected > -1).all(1)
    assert found["map"] == pytest.approx(expected[with_boxes].mean(), abs=1e-6)
    assert found["map50"] == pytest.approx(expected[with_boxes, 0].mean(), abs=1e-6)
    assert found["map75"] == pytest.approx(expected[with_boxes, 5].mean(), abs=1e-6)
    for scores, precisions in zip(found["per_class"], expected, strict=True):
        assert (scores["ap"] is None) == (precisions[0] == -1) == (scores["support"] == 0)


def _builder(work: Work) -> Any:
    return Builder.parse(work.builder)


def test_evaluate_compares_runs_and_lists_images(work: Work, tmp_path: Path) -> None:
    work.run("evaluate", work.dense, work.separable, "--no-time", "--out", tmp_path / "scores")
    models = json.loads((tmp_path / "scores" / "models.json").read_text(encoding="utf-8"))["models"]
    assert models[0]["metrics"]["map"] == work.metrics(work.dense)["map"]
    low, high = models[1]["difference"]["interval"]
    assert low <= models[1]["difference"]["map"] <= high
    (folder,) = [path for path in (tmp_path / "scores").iterdir() if path.name.endswith("dense")]
    rows = list(csv.DictReader((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["key"] for row in rows] == [*(f"{number}.png" for number in range(5)), "none.png"]
    assert [int(row["found"]) + int(row["missed"]) for row in rows[:-1]] == [
        len(scene_boxes(SplitName.TEST, index)) for index in range(5)
    ]


def test_predictions_are_boxes_in_pixels_of_the_image(work: Work, tmp_path: Path) -> None:
    photo, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.fromarray(draw_scene(SplitName.TEST, 1)[0]).save(photo)
    Image.fromarray(draw_scene(SplitName.TEST, 2)[0]).resize((144, 96)).save(large)
    out = tmp_path / "boxes.json"
    work.run("predict", work.dense, photo, large, "--out", out, "--threshold", "0.1")
    document = json.loads(out.read_text(encoding="utf-8"))
    assert [(each["width"], each["height"]) for each in document["images"]] == [(48, 48), (144, 96)]
    assert [each["name"] for each in document["categories"]] == [str(digit) for digit in DIGITS]
    network = load_folder(work.dense, _builder(work))
    transform = PictureTransform(as_images(network.preprocessing), TargetKind.BOXES)
    for number, (path, scale) in enumerate(((photo, (1, 1)), (large, (3, 2))), 1):
        with torch.no_grad():
            (found,) = network.module.eval()(transform(Image.open(path))[None]).numpy()
        found = found[found[:, 4] >= 0.1]
        own = [each for each in document["annotations"] if each["image_id"] == number]
        assert len(own) == len(found) > 3
        for each, row in zip(own, found, strict=True):
            left, top, right, bottom = row[:4] * (scale * 2)
            np.testing.assert_allclose(each["bbox"], [left, top, right - left, bottom - top], rtol=1e-3, atol=1e-3)
            assert each["score"] == pytest.approx(row[4], abs=1e-5)
            assert each["category_id"] == row[5] + 1
    listed = work.run("predict", work.dense, photo, "--threshold", "0.1", "--format", "csv").stdout.splitlines()
    assert listed[0] == "path,class,score,left,top,right,bottom"
    assert len(listed) == 1 + sum(each["image_id"] == 1 for each in document["annotations"])


def test_boxes_are_drawn_onto_copies_of_the_images(work: Work, tmp_path: Path) -> None:
    photo, drawn = tmp_path / "photo.png", tmp_path / "drawn"
    Image.new("RGB", (480, 320), (40, 40, 40)).save(photo)
    arguments = ("predict", work.dense, photo, "--threshold", "0", "--pictures", drawn, "--format", "jsonl")
    found = json.loads(work.run(*arguments).stdout)
    assert found["file"] == str(drawn / "photo.png")
    pixels = np.asarray(Image.open(drawn / "photo.png")).astype(int)
    assert pixels.shape == (320, 480, 3)
    best = found["boxes"][0]
    left, top = best["box"][:2]
    red, green, blue = class_colours(256)[1 + int(best["class"])]
    corner = pixels[min(round(top), 319), min(round(left), 479)]
    assert np.abs(corner - (red, green, blue)).max() == 0, (corner, best)
    assert work.run("predict", work.dense, photo, "--threshold", "0", "--format", "csv").stdout.count("\n") > 1
    refused = dsft(*arguments, "--builder", work.builder)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr


def test_a_conversion_without_training_is_scored(work: Work, tmp_path: Path) -> None:
    done = work.run("convert", work.dense, "--budget", "macs=0.6", "--out", tmp_path / "converted")
    assert "mAP" in done.stdout
    converted = load_folder(tmp_path / "converted", _builder(work))
    found = converted.module.eval()(torch.zeros(1, 1, 48, 48))
    assert found.shape == (1, 100, 6)


def test_a_sweep_scores_each_budget(work: Work, tmp_path: Path) -> None:
    options = ("--structures", "dw_pw", "--method", "svd", "--budgets", "0.6", "--out", tmp_path / "curve")
    found = json.loads(work.run("sweep", work.dense, *options, "--json").stdout)
    dense, converted = found["rows"]
    assert dense["metrics"]["map"] == pytest.approx(work.metrics(work.dense, "val")["map"], abs=1e-6)
    assert converted["macs"] <= 0.6 * dense["macs"]
    assert converted["latency_ms"] > 0


@pytest.mark.parametrize("runtimes", ["eager", pytest.param("eager,onnxruntime", marks=pytest.mark.slow)])
def test_a_run_is_scored_and_timed(work: Work, runtimes: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(work.separable, tmp_path / "run"))
    options = ("--runtime", runtimes, "--calibration", "4", "--seconds", "0.1")
    found = json.loads(work.run("deploy", run, *options, "--json").stdout)
    score = work.metrics(work.separable)["map"]
    scores = {(row["runtime"], row["dtype"]): row["score"] for row in found["rows"]}
    assert (found["metric"], found["unusable"]) == ("map", {})
    assert scores["eager", "float32"] == pytest.approx(score, abs=1e-6)
    if "onnxruntime" in runtimes:
        assert scores["onnxruntime", "float32"] == pytest.approx(score, abs=1e-3)
        assert scores["onnxruntime", "int8"] > 0
    assert "Runtimes" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_exported_file_finds_the_same_boxes(work: Work, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    file, photo = tmp_path / "net.onnx", tmp_path / "photo.png"
    work.run("export", work.separable, "--out", file)
    described = json.loads(Path(f"{file}.json").read_text(encoding="utf-8"))
    assert described["output"] == {"name": "detections", "shape": ["batch", 100, 6], "dtype": "float32"}
    assert described["parity"]["agreement"] > 0.99
    done = work.run("evaluate", work.separable, file, "--data", work.recipe, "--no-time", "--json")
    folder, exported = (each["metrics"] for each in json.loads(done.stdout)["models"])
    assert exported["map"] == pytest.approx(folder["map"], abs=1e-3)
    Image.fromarray(draw_scene(SplitName.TEST, 3)[0]).save(photo)
    found = [
        json.loads(work.run("predict", each, photo, "--format", "jsonl").stdout) for each in (work.separable, file)
    ]
    assert [box["class"] for box in found[0]["boxes"]] == [box["class"] for box in found[1]["boxes"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("augment.mixup=0.2", r"augment\.mixup: cannot be used with task detection, whose ground truth is boxes"),
        ("data.source=folder", r"data\.source: task detection needs boxes with a class each"),
        ("model={source: timm, name: resnet18}", "this is a network for classification"),
        ("evaluate.monitor=val/loss", r"evaluate\.monitor: with task detection it must be one of val/map"),
        ("distill={teacher: original, logits: 0.5}", r"distill\.logits: must be 0 with task detection"),
        ("data.class_weights={a: 2}", r"data\.class_weights: cannot be used with task detection"),
        ("data.image_size=4", r"data\.image_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: str, message: str, tmp_path: Path) -> None:
    done = dsft("train", write_work(tmp_path).recipe, change)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.split())), done.stderr
    assert not (tmp_path / "runs").exists()


def test_damaged_boxes_end_a_run_or_are_skipped(tmp_path: Path) -> None:
    work = write_work(tmp_path)
    file = tmp_path / "scenes" / "train" / "boxes.json"
    document = json.loads(file.read_text("utf-8"))
    document["annotations"][0]["bbox"][2] = 0
    file.write_text(json.dumps(document), "utf-8")
    checked = dsft("data", "check", work.recipe, "--json")
    assert checked.exit_code == 1
    assert "every box must have an area" in json.loads(checked.stdout)["corrupt"][0]["message"]
    done = dsft("train", work.recipe)
    assert done.exit_code == 2
    assert "every box must have an area" in " ".join(done.stderr.split())
    skipped = dsft("train", work.recipe, "data.bad_images=skip", "name=skipping", "train.grad_accum=2")
    assert skipped.exit_code == 0, skipped.stderr


def test_an_interrupted_run_continues_exactly(tmp_path: Path) -> None:
    work, seen = write_work(tmp_path), itertools.count(1)

    def interrupt(event: Event) -> None:
        if isinstance(event, Advanced) and event.task == "training" and next(seen) == 5:
            signal.raise_signal(signal.SIGINT)

    options = ["schedule.epochs=2", "evaluate.splits=[val]"]
    unbroken = api.train(work.recipe, overrides=[*options, "name=unbroken"], report=ignore)
    broken = [*options, "name=broken"]
    with pytest.raises(InterruptedRun):
        api.train(work.recipe, overrides=broken, report=interrupt)
    resumed = api.train(work.recipe, overrides=broken, resume=True, report=ignore)
    for one, other in zip(resumed.model.parameters(), unbroken.model.parameters(), strict=True):
        assert torch.equal(one, other)
    runs = work.folder / "runs"
    assert work.metrics(runs / "broken", "val") == work.metrics(runs / "unbroken", "val")


@pytest.mark.slow
def test_two_processes_score_as_one(tmp_path: Path) -> None:
    work, run = write_work(tmp_path), tmp_path / "runs" / "dense"
    environments = [torchrun_worker(rank, port) for port in [str(free_port())] for rank in range(2)]
    with fork_server({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}) as server:
        said = tmp_path / "said.txt"
        said.touch()
        started = server.start("train", work.recipe, stderr=said, environments=environments)
        assert started.wait_all() == [0, 0], said.read_text("utf-8")
    done = work.run("evaluate", run, "--no-time", "--json")
    (alone,), together = (each["metrics"] for each in json.loads(done.stdout)["models"]), work.metrics(run)
    assert together["count"] == alone["count"] == 6
    for name in ("map", "map50", "map75", "map_interval"):
        assert together[name] == pytest.approx(alone[name], rel=1e-6)
