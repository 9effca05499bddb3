"""Segmentation and restoration through every command: small networks of the user's own, on scenes of digits."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import dsft as api
from dsft.assembly import Network, load_folder, load_split, open_splits
from dsft.choices import ExportFormat, SplitName
from dsft.data.sources.scenes import draw_scene
from dsft.devices import Compute
from dsft.errors import InterruptedRun
from dsft.models import Builder
from dsft.progress import Advanced, Event, ignore
from dsft.recipe import load_recipe
from dsft.runtimes import why_unquantizable
from tests.commands.test_several_processes import torchrun_worker
from tests.distributed.siblings import free_port
from tests.forkserver import fork_server
from tests.runs import Runs
from tests.workshop import Outcome, dsft

_NETWORKS = """\
from torch import nn

def conv(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(1, 16), conv(16, 16), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, images):
        return images - self.body(images)

def segmentation():
    return nn.Sequential(conv(1, 16), nn.MaxPool2d(2), conv(16, 16), nn.Upsample(scale_factor=2), nn.Conv2d(16, 2, 1))

def restoration():
    return Residual()
"""
_COMMON = """\
version: 1
name: dense
optim: {{lr: 2e-3}}
schedule: {{epochs: 1}}
output: {{dir: "{runs}/${{name}}"}}
"""
_DENSE = {
    "segmentation": """\
task: segmentation
model: {{source: python, builder: "{builder}"}}
data: {{source: masks, root: {root}, class_names: [none, digit], image_size: 24, batch_size: 4, workers: 0}}
augment: {{hflip: 0.5, scale: [0.6, 1.0]}}
loss: {{dice: 0.5}}
""",
    "restoration": """\
task: restoration
model: {{source: python, builder: "{builder}"}}
data: {{source: pairs, root: {root}, degrade: {{noise: 30}}, image_size: 24, batch_size: 4, workers: 0}}
loss: {{pixel: l1}}
""",
}
_SEPARABLE = """\
extends: dense.yaml
name: separable
model: {{source: dsft, path: "{runs}/dense/model"}}
convert: {{budget: {{macs: 0.6}}, structures: [dw_pw], calibration: {{images: 8}}}}
distill: {{teacher: "{runs}/dense/model", logits: 0.5}}
"""
MAIN = {"segmentation": "miou", "restoration": "psnr"}


@dataclass(frozen=True)
class Work(Runs):
    """The folder of a task's pictures, recipes and runs."""

    task: str

    @property
    def builder(self) -> str:
        return f"{(self.folder / 'net.py').as_posix()}:{self.task}"

    def load(self, folder: Path) -> Network:
        return load_folder(folder, Builder.parse(self.builder))

    def run(self, *arguments: str | Path) -> Outcome:
        """Run a command with the builder, which must succeed."""
        return super().run(*arguments, "--builder", self.builder)


def write_pictures(folder: Path, task: str) -> None:
    for split, count in ((SplitName.TRAIN, 8), (SplitName.VAL, 2), (SplitName.TEST, 3)):
        images = folder / split / "images" if task == "segmentation" else folder / split
        images.mkdir(parents=True)
        for index in range(count):
            pixels, mask = draw_scene(split, index)
            Image.fromarray(pixels).save(images / f"{index}.png")
            if task == "segmentation":
                (folder / split / "masks").mkdir(exist_ok=True)
                # The first row has no class.
                digit = (mask > 0).astype(np.uint8)
                digit[0] = 255
                Image.fromarray(digit).save(folder / split / "masks" / f"{index}.png")


def write_work(task: str, folder: Path) -> Work:
    work = Work(folder, task)
    write_pictures(folder / "pictures", task)
    (folder / "net.py").write_text(_NETWORKS, encoding="utf-8")
    places = {"root": folder / "pictures", "runs": folder / "runs", "builder": work.builder}
    for name, text in (("dense", _COMMON + _DENSE[task]), ("separable", _SEPARABLE)):
        (folder / f"{name}.yaml").write_text(text.format(**places), encoding="utf-8")
    return work


@pytest.fixture(scope="module", params=list(_DENSE))
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Work:
    found = write_work(request.param, tmp_path_factory.mktemp(request.param))
    found.run("train", found.recipe)
    found.run("finetune", found.folder / "separable.yaml")
    return found


def test_a_run_converts_scores_and_writes_its_page(work: Work) -> None:
    slots = {path.name for path in (work.separable / "evaluation").iterdir()}
    assert slots == {"val", "test", "val-teacher", "test-original", "test-converted"}
    found, name = work.metrics(work.separable), MAIN[work.task]
    assert found["task"] == work.task
    assert found["count"] == 3
    low, high = found[f"{name}_interval"]
    assert low <= found[name] <= high
    conversion = json.loads((work.separable / "conversion.json").read_text(encoding="utf-8"))
    assert conversion["converted"]["macs"] <= 0.6 * conversion["original"]["macs"]
    assert (work.separable / "evaluation" / "test" / "worst.png").is_file()
    log = (work.separable / "train.log").read_text(encoding="utf-8")
    assert "teacher: " in log
    if work.task == "restoration":
        assert "a weak teacher" not in log
    page = (work.separable / "report.html").read_text(encoding="utf-8")
    assert f"Images, lowest {name} first" in page
    assert "Every image was assigned" not in page


def test_the_scores_are_those_of_numpy_on_the_models_own_outputs(work: Work) -> None:
    network, recipe = work.load(work.dense), load_recipe(str(work.recipe))
    split = open_splits(recipe.data, ignore).get(SplitName.TEST)
    loader = load_split(split, recipe.data, network.preprocessing, Compute(torch.device("cpu")))
    with torch.inference_mode():
        pairs = [(network.module(batch.images).numpy(), batch.targets.numpy()) for batch in loader.epoch(0)]
    found = work.metrics(work.dense)
    if work.task == "restoration":
        # The images are restored whole, although training crops them.
        assert {outputs.shape for outputs, _ in pairs} == {(1, 1, 48, 48)}
        errors = [((outputs.clip(0, 1) - clean) ** 2).mean() for outputs, clean in pairs]
        assert found["psnr"] == pytest.approx(np.mean([-10 * np.log10(error) for error in errors]), abs=1e-3)
        return
    predicted = np.concatenate([outputs.argmax(1) for outputs, _ in pairs])
    truth = np.concatenate([targets for _, targets in pairs])
    known = truth != 255
    assert not known.all()
    iou = [
        (known & (predicted == number) & (truth == number)).sum()
        / (known & ((predicted == number) | (truth == number))).sum()
        for number in range(2)
    ]
    assert found["per_class_iou"] == pytest.approx(iou)
    assert found["miou"] == pytest.approx(np.mean(iou))
    assert found["pixel_accuracy"] == pytest.approx((predicted == truth)[known].mean())


def test_evaluate_compares_runs_and_predictions_are_listed(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    work.run("evaluate", work.dense, work.separable, "--no-time", "--out", out)
    models = json.loads((out / "models.json").read_text(encoding="utf-8"))["models"]
    assert models[0]["metrics"][MAIN[work.task]] == work.metrics(work.dense)[MAIN[work.task]]
    low, high = models[1]["difference"]["interval"]
    assert low <= models[1]["difference"][MAIN[work.task]] <= high
    (folder,) = [path for path in out.iterdir() if path.name.endswith("dense")]
    rows = list(csv.DictReader((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["key"] for row in rows] == [f"{number}.png" for number in range(3)]
    refused = dsft("evaluate", work.dense, "--fit-temperature", "--builder", work.builder)
    assert refused.exit_code == 2
    assert "--fit-temperature: needs probabilities" in refused.stderr


def test_predictions_are_pictures_of_the_size_of_the_image(work: Work, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(draw_scene(SplitName.TEST, 7)[0]).crop((0, 0, 40, 32)).save(photo)
    arguments = (work.dense, photo, "--pictures", tmp_path / "out", "--builder", work.builder)
    assert dsft("predict", *arguments).exit_code == 0
    with Image.open(tmp_path / "out" / "photo.png") as written:
        assert written.size == (40, 32)
        values = np.asarray(written)
    if work.task == "segmentation":
        assert set(np.unique(values)) <= {0, 1}
    assert dsft("predict", *arguments).exit_code == 2
    before = photo.read_bytes()
    own = dsft("predict", *arguments[:2], "--pictures", tmp_path, "--builder", work.builder, "--overwrite")
    assert own.exit_code == 2
    assert "is one of the inputs, so it cannot be replaced" in " ".join(own.stderr.split())
    assert photo.read_bytes() == before
    refused = dsft("predict", work.dense, photo, "--builder", work.builder)
    assert refused.exit_code == 2
    assert "--pictures: is needed" in refused.stderr


@pytest.fixture(scope="module")
def file(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    path: Path = tmp_path_factory.mktemp("exported") / "net.onnx"
    work.run("export", work.separable, "--out", path)
    return path


def test_an_exported_file_computes_the_same(work: Work, file: Path) -> None:
    described = json.loads(Path(f"{file}.json").read_text(encoding="utf-8"))
    is_free = work.task == "restoration"
    channels, size = (1, ["height", "width"]) if is_free else (2, [24, 24])
    assert described["output"]["shape"] == ["batch", channels, *size]
    # Images to restore keep their sizes.
    images = np.random.default_rng(0).random((3, 1, 31, 26) if is_free else (3, 1, 24, 24), np.float32)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run([described["output"]["name"]], {described["input"]["name"]: images})
    expected = work.load(work.separable).module(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_exported_file_is_scored_and_predicts_as_its_model(work: Work, file: Path, tmp_path: Path) -> None:
    done = work.run("evaluate", work.separable, file, "--data", work.recipe, "--no-time", "--json")
    folder, exported = (each["metrics"] for each in json.loads(done.stdout)["models"])
    assert exported[MAIN[work.task]] == pytest.approx(folder[MAIN[work.task]], abs=1e-3)
    photo = work.folder / "pictures" / "test" / ("images" if work.task == "segmentation" else "") / "0.png"
    pictures = []
    for name, model in (("folder", work.separable), ("file", file)):
        work.run("predict", model, photo, "--pictures", tmp_path / name)
        with Image.open(tmp_path / name / "0.png") as picture:
            pictures.append(np.asarray(picture).astype(int))
    assert pictures[0].shape == (48, 48)
    # Rounding moves a pixel by one grey level, or a pixel on a border.
    largest = 1 if work.task == "restoration" else 0
    assert (np.abs(pictures[0] - pictures[1]) <= largest).mean() > 0.99


def test_weights_are_converted_and_scored_for_the_task_of_the_recipe(work: Work, tmp_path: Path) -> None:
    weights, main = work.dense / "model" / "model.safetensors", MAIN[work.task]
    data = ("--data", work.recipe, "--classes", "data", "--image-size", "24")
    done = work.run("convert", weights, *data, "--budget", "macs=0.6", "--out", tmp_path / "converted", "--json")
    verdict = json.loads(done.stdout)["verdict"]
    assert verdict["metric"] == main
    assert verdict["score_before"] == pytest.approx(work.metrics(work.dense, "val")[main], abs=1e-6)
    assert work.load(tmp_path / "converted").task.name == work.task


def test_a_sweep_scores_each_budget_by_the_score_of_the_task(work: Work, tmp_path: Path) -> None:
    out, main = tmp_path / "curve", MAIN[work.task]
    structures = ("--structures", "dw_pw", "--method", "svd")
    found = json.loads(
        work.run("sweep", work.dense, *structures, "--budgets", "0.5,0.7", "--out", out, "--json").stdout
    )
    dense, *converted = found["rows"]
    assert dense["metrics"][main] == pytest.approx(work.metrics(work.dense, "val")[main], abs=1e-6)
    for row in converted:
        assert row["macs"] <= row["budget"] * dense["macs"]
        assert row["metrics"][main] > 0
        assert row["latency_ms"] > 0
    assert (out / "sweep.png").is_file()


def test_a_run_is_measured_in_each_runtime(work: Work, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    if (reason := why_unquantizable(ExportFormat.ONNX)) is not None:
        pytest.skip(reason)
    run = Path(shutil.copytree(work.separable, tmp_path / "run"))
    options = ("--runtime", "eager,onnxruntime", "--seconds", "0.1", "--calibration", "4")
    found = json.loads(work.run("deploy", run, *options, "--json").stdout)
    rows = {(row["runtime"], row["dtype"]): row for row in found["rows"]}
    assert list(rows) == [("eager", "float32"), ("onnxruntime", "float32"), ("onnxruntime", "int8")]
    score = rows["eager", "float32"]["score"]
    if work.task == "segmentation":  # images to restore are cut to the size that networks are timed with
        assert score == pytest.approx(work.metrics(work.separable)["miou"], abs=1e-6)
    assert rows["onnxruntime", "float32"]["score"] == pytest.approx(score, abs=1e-3)
    for row in rows.values():
        assert {size: timing["ratio"]["median"] > 0 for size, timing in row["timings"].items()} == {
            "1": True,
            "8": True,
        }
    assert MAIN[work.task] == found["metric"]
    assert "onnxruntime" in (run / "report.html").read_text(encoding="utf-8")


def test_a_recovery_needs_no_ground_truth(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "recovered"
    done = work.run(
        *("convert", work.dense, "--data", work.recipe, "--budget", "macs=0.6", "--structures", "dw_pw"),
        *("--recover", "--calibration-images", "8", "--out", out, "--json"),
    )
    assert json.loads(done.stdout)["converted"]["macs"] > 0
    # Fewer images than a recovery needs.
    assert "recover" in done.stderr
    assert work.load(out).task.name == work.task


def test_data_check_reads_the_ground_truth(work: Work, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", work.task)
    recipe = work.recipe
    assert dsft("data", "check", recipe, f"data.root={tmp_path / 'pictures'}").exit_code == 0
    if work.task == "restoration":
        return
    masks = tmp_path / "pictures" / "train" / "masks"
    Image.fromarray(np.full((48, 48), 7, np.uint8)).save(masks / "0.png")
    Image.fromarray(np.zeros((20, 48), np.uint8)).save(masks / "1.png")
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(masks / "2.png")
    done = dsft("data", "check", recipe, f"data.root={tmp_path / 'pictures'}", "--json")
    assert done.exit_code == 1
    found = {row["key"]: row["message"] for row in json.loads(done.stdout)["corrupt"]}
    assert list(found) == ["0.png", "1.png", "2.png"]
    assert "found [7]" in found["0.png"]
    assert "must have the same size, found 48 x 48 and 48 x 20" in found["1.png"]
    assert "found colours (mode RGB)" in found["2.png"]
    assert dsft("train", recipe, f"data.root={tmp_path / 'pictures'}", "name=bad").exit_code == 2
    skipped = dsft("train", recipe, f"data.root={tmp_path / 'pictures'}", "name=skipping", "data.bad_images=skip")
    assert skipped.exit_code == 0, skipped.stderr


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("segmentation", "augment.mixup=0.2", r"augment\.mixup: cannot be used with task segmentation"),
        ("segmentation", "data.sampler=balanced", r"data\.sampler: balanced requires task classification"),
        ("segmentation", "task=restoration", r"data\.source: task restoration needs a clean image"),
        ("segmentation", "loss.pixel=l1", r"loss\.pixel: requires task restoration"),
        ("restoration", "loss.dice=1", r"loss\.dice: requires task segmentation"),
        ("restoration", "model={source: timm, name: resnet18}", "this is a network for classification"),
    ],
)
def test_settings_that_do_not_fit_are_refused(task: str, change: str, message: str, tmp_path: Path) -> None:
    done = dsft("train", write_work(task, tmp_path).recipe, change)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.split())), done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("task", list(_DENSE))
def test_an_interrupted_run_continues_exactly(task: str, tmp_path: Path) -> None:
    work, seen = write_work(task, tmp_path), itertools.count(1)

    def interrupt(event: Event) -> None:
        # In the second epoch, whose noise and crops differ from those of the first.
        if isinstance(event, Advanced) and event.task == "training" and next(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    options = ["schedule.epochs=2", "evaluate.splits=[val]"]
    unbroken = api.train(work.recipe, overrides=[*options, "name=unbroken"], report=ignore)
    broken = [*options, "name=broken"]
    with pytest.raises(InterruptedRun):
        api.train(work.recipe, overrides=broken, report=interrupt)
    assert next(seen) == 4
    resumed = api.train(work.recipe, overrides=broken, resume=True, report=ignore)
    for one, other in zip(resumed.model.parameters(), unbroken.model.parameters(), strict=True):
        assert torch.equal(one, other)
    scores = [work.metrics(work.folder / "runs" / name, "val") for name in ("broken", "unbroken")]
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.parametrize("task", list(_DENSE))
def test_two_processes_score_as_one(task: str, tmp_path: Path) -> None:
    work, run = write_work(task, tmp_path), tmp_path / "runs" / "dense"
    environments = [torchrun_worker(rank, port) for port in [str(free_port())] for rank in range(2)]
    with fork_server({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}) as server:
        said = tmp_path / "said.txt"
        said.touch()
        started = server.start("train", work.recipe, stderr=said, environments=environments)
        assert started.wait_all() == [0, 0], said.read_text("utf-8")
    done = work.run("evaluate", run, "--no-time", "--json")
    (alone,), together = (each["metrics"] for each in json.loads(done.stdout)["models"]), work.metrics(run)
    assert together["count"] == alone["count"] == 3
    for name in (MAIN[task], "loss"):
        assert together[name] == pytest.approx(alone[name], rel=1e-6)
    assert together[f"{MAIN[task]}_interval"] == pytest.approx(alone[f"{MAIN[task]}_interval"], rel=1e-6)
