from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dsft as library
from dsft.recipe import load_recipe
from tests.workshop import CLASSES, Workshop, contents, dsft, write_pictures

EVALUATION = {"metrics.json", "per_class.csv", "confusion.csv", "predictions.csv", "confusion.png", "reliability.png"}
RUN = {"recipe.yaml", "run.json", "splits.json", "metrics.jsonl", "train.log"}
PAGE = {"report.html", "plots/losses.png", "plots/scores.png"}
MODEL = {"model.safetensors", "manifest.json", "README.md", "config.json"}
CHECKPOINTS = {
    "best/model.safetensors",
    "best/checkpoint.json",
    *(f"{folder}/{name}" for folder in ("last", "previous") for name in ("SHA256SUMS", "checkpoint.json", "state.pt")),
    *("last/model.safetensors", "last/best.safetensors", "previous/model.safetensors"),
}
# The names of DESIGN, and those that came later.
METRICS = [
    *("split", "count", "skipped", "loss", "top1", "top1_interval", "top5"),
    *("macro_precision", "macro_recall", "macro_f1", "ece", "nll", "brier", "calibrated", "per_class"),
]
LAYER = [
    *("name", "decision", "reason", "structure", "order", "kernels", "width", "macs_before", "macs_after"),
    *("relative_error", "latency_ms_before", "latency_ms_after"),
]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def files(folder: Path) -> set[str]:
    """List the files of a run; whether there are mistakes to be shown is chance."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "mistakes.png")
    return {path.relative_to(folder).as_posix() for path in found}


def below(name: str, inner: set[str]) -> set[str]:
    return {f"{name}/{path}" for path in inner}


def test_a_training_run_leaves_these_files(workshop: Workshop) -> None:
    slots = below("evaluation/val", EVALUATION) | below("evaluation/test", EVALUATION)
    assert files(workshop.dense) == RUN | PAGE | slots | below("model", MODEL) | below("checkpoints", CHECKPOINTS)


def test_a_conversion_adds_these(workshop: Workshop) -> None:
    before = below("evaluation/test-original", EVALUATION) | below("evaluation/test-converted", EVALUATION)
    averages = {f"checkpoints/{folder}/ema.safetensors" for folder in ("last", "previous")}
    files_of_it = {"conversion.json", "checkpoints/plan.json", "plots/layers.png"}
    added = before | averages | files_of_it | below("evaluation/val-teacher", EVALUATION)
    assert files(workshop.separable) == files(workshop.dense) | added


@pytest.mark.parametrize("slot", ["val", "test", "test-original", "test-converted"])
def test_metrics_have_the_names_that_scripts_rely_on(workshop: Workshop, slot: str) -> None:
    metrics = read(workshop.separable / "evaluation" / slot / "metrics.json")
    assert list(metrics) == METRICS
    assert metrics["split"] == slot.partition("-")[0]
    assert [row["name"] for row in metrics["per_class"]] == list(CLASSES)
    assert {tuple(row) for row in metrics["per_class"]} == {("name", "precision", "recall", "f1", "support")}


def test_metrics_are_those_of_the_predictions(workshop: Workshop) -> None:
    folder = workshop.separable / "evaluation" / "test"
    metrics = read(folder / "metrics.json")
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    truth, guess = [row["target"] for row in rows], [row["predicted"] for row in rows]
    assert all(row["key"].startswith(row["target"] + "/") for row in rows)
    assert metrics["count"] == len(rows) == 10
    assert metrics["top1"] == pytest.approx(100 * accuracy_score(truth, guess))
    assert metrics["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0))
    with (folder / "confusion.csv").open(encoding="utf-8", newline="") as file:
        table = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    assert table == confusion_matrix(truth, guess, labels=CLASSES).tolist()


def test_conversion_has_the_names_that_scripts_rely_on(workshop: Workshop) -> None:
    conversion = read(workshop.separable / "conversion.json")
    assert list(conversion) == [
        "verdict",
        "original",
        "converted",
        "measured_on",
        "layers",
        "trials",
        "recovery",
        "data_dependent",
    ]
    assert {tuple(conversion[key]) for key in ("original", "converted")} == {("macs", "params", "latency_ms")}
    assert list(conversion["measured_on"]) == ["device", "threads", "batch", "dtype", "layout", "runtime"]
    assert {tuple(layer) for layer in conversion["layers"]} == {tuple(LAYER)}


def test_conversion_is_that_of_the_saved_networks(workshop: Workshop) -> None:
    conversion = read(workshop.separable / "conversion.json")
    images = torch.zeros(1, 3, 32, 32)
    for key, run in (("original", workshop.dense), ("converted", workshop.separable)):
        network = library.load(run / "model")
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(images)
        assert conversion[key]["macs"] == counter.get_total_flops() // 2
        assert conversion[key]["params"] == sum(parameter.numel() for parameter in network.parameters())
        assert conversion[key]["latency_ms"] > 0
    assert conversion["converted"]["macs"] <= 0.5 * conversion["original"]["macs"]
    assert conversion["measured_on"]["threads"] == 1
    dense = timm.create_model("test_resnet", num_classes=3)
    convolutions = [name for name, layer in dense.named_modules() if isinstance(layer, nn.Conv2d)]
    assert [layer["name"] for layer in conversion["layers"]] == convolutions
    separable = library.load(workshop.separable / "model")
    for layer in conversion["layers"]:
        module = separable.get_submodule(layer["name"])
        if layer["decision"] == "kept":
            assert isinstance(module, nn.Conv2d)
            assert layer["macs_after"] == layer["macs_before"]
            continue
        depthwise = module.get_parameter("depthwise.weight")
        assert layer["kernels"] == len(depthwise)
        assert layer["macs_after"] < layer["macs_before"]
        assert 0 < layer["relative_error"] < 1
        assert layer["latency_ms_after"] > 0


def test_what_it_was_made_of_is_kept(workshop: Workshop) -> None:
    run = read(workshop.separable / "run.json")
    assert run["name"] == "separable"
    assert {"python", "dsft", "torch", "torchvision", "timm"} == set(run["versions"])
    assert run["device"] == "cpu"
    assert run["seeds"] == {"train": 0, "split": 0}
    splits = read(workshop.separable / "splits.json")
    assert splits["classes"] == list(CLASSES)
    manifest = read(workshop.separable / "model" / "manifest.json")
    for name, split in splits["splits"].items():
        assert run["data"][name] == {"images": len(split["keys"]), "fingerprint": split["fingerprint"]}
    # Test chose and trained nothing, so the model does not know its fingerprint.
    assert manifest["fingerprints"] == {name: splits["splits"][name]["fingerprint"] for name in ("train", "val")}
    assert load_recipe(str(workshop.separable / "recipe.yaml")) == load_recipe(str(workshop.separable_recipe))


def test_the_log_has_the_notes_and_epochs(workshop: Workshop) -> None:
    log = (workshop.separable / "train.log").read_text(encoding="utf-8").splitlines()
    said = [line.split("  ", 1)[1] for line in log]
    assert said[0].startswith("data: 48 images of 3 classes (33 train, 5 val, 10 test)")
    assert any(line.startswith("teacher: top-1 ") for line in said)
    assert [
        line.partition(" best")[0].strip()[:9] for line in said if line.startswith("epoch ") and "/" in line[:9]
    ] == [
        "epoch 1/2",
        "epoch 2/2",
    ]


@pytest.mark.parametrize("run", ["dense", "separable"])
def test_val_chooses_the_weights_that_are_kept(workshop: Workshop, run: str) -> None:
    folder: Path = getattr(workshop, run)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    best = max(epochs, key=lambda values: values["val/top1"])
    val = read(folder / "evaluation" / "val" / "metrics.json")
    assert (val["top1"], val["loss"]) == (best["val/top1"], best["val/loss"])
    kept, chosen = (load_file(folder / name / "model.safetensors") for name in ("model", "checkpoints/best"))
    assert kept.keys() == chosen.keys()
    assert all(torch.equal(kept[name], chosen[name]) for name in kept)
    assert read(folder / "model" / "manifest.json")["weights"] == {"dense": "raw", "separable": "ema"}[run]


def test_the_same_recipe_gives_the_same_weights(workshop: Workshop, here: Path) -> None:
    done = dsft("finetune", workshop.separable_recipe, "output.dir=again")
    assert done.exit_code == 0, done.stderr
    first, second = (read(run / "model" / "manifest.json") for run in (workshop.separable, here / "again"))
    assert first["sha256"] == second["sha256"]


def test_results_are_told_side_by_side(workshop: Workshop, here: Path) -> None:
    done = dsft("finetune", workshop.separable_recipe, "output.dir=out", "schedule.epochs=1", "~freeze")
    assert done.exit_code == 0, done.stderr
    for words in ("original", "converted", "ratio", "Latency: ", "macro mean", "run folder: out"):
        assert words in done.stdout
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert [row for row in rows if row in ("teacher", "original", "converted, untrained", "fine-tuned")][-5:] == [
        "teacher",
        "original",
        "converted, untrained",
        "fine-tuned",
        "fine-tuned",
    ]
    assert "epoch 1/1" in done.stderr
    assert "epoch" not in done.stdout
    assert (here / "out" / "model").is_dir()


@pytest.mark.usefixtures("here")
def test_the_mean_of_the_best_epochs_is_scored_and_saved(workshop: Workshop) -> None:
    done = dsft("train", workshop.dense_recipe, "output.dir=out", "output.keep_best=2", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["weights"] == "average"
    out = Path("out")
    assert read(out / "model" / "manifest.json")["weights"] == "average"
    assert "mean of the weights of the best epochs" in (out / "model" / "README.md").read_text("utf-8")
    assert re.search(r"mean of epochs (1, 2|2, 1)", (out / "report.html").read_text("utf-8"))
    first, second = (load_file(out / "checkpoints" / "kept" / f"kept-{epoch}.safetensors") for epoch in (1, 2))
    saved = load_file(out / "model" / "model.safetensors")
    for name, tensor in saved.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
    scored = json.loads(dsft("evaluate", "out", "--split", "test", "--json").stdout)["models"][0]["metrics"]
    assert scored["loss"] == pytest.approx(read(out / "evaluation" / "test" / "metrics.json")["loss"], rel=1e-6)


@pytest.mark.usefixtures("here")
def test_a_weak_teacher_is_warned_of(workshop: Workshop) -> None:
    changes = ["optim.lr=1e-9", "schedule.epochs=1"]
    assert dsft("train", workshop.dense_recipe, "output.dir=weak", *changes).exit_code == 0
    scores = read(Path("weak/evaluation/val/metrics.json"))
    assert scores["top1"] < 50
    finetune = [
        "finetune",
        str(workshop.separable_recipe),
        "model.path=weak/model",
        "output.dir=out",
        "~freeze",
        "convert.method=svd",
        *changes,
    ]
    done = dsft(*finetune)
    assert f"teacher: top-1 {scores['top1']:.2f} % on val" in done.stderr
    assert "warning: teacher: top-1 of" in done.stderr
    done = dsft(*finetune, "distill.logits=0", "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert "teacher" not in done.stderr + done.stdout


def test_a_transfer_replaces_the_head_and_scores_no_original(workshop: Workshop, here: Path) -> None:
    write_pictures(here / "pictures", {"dog": 8, "elk": 8})
    changes = ["data.root=pictures", "~distill", "output.dir=out", "schedule.epochs=1", "~freeze"]
    done = dsft("finetune", workshop.separable_recipe, *changes, "--json")
    assert done.exit_code == 0, done.stderr
    assert "its head of 3 classes is replaced by an untrained one for the 2 classes of the data" in done.stderr
    assert list(json.loads(done.stdout)["scores"]) == ["val", "test"]
    assert read(here / "out" / "model" / "manifest.json")["classes"] == ["dog", "elk"]
    assert library.load(here / "out" / "model")(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_a_converted_network_is_tuned_further(workshop: Workshop, here: Path) -> None:
    teacher = f"distill.teacher={workshop.dense.as_posix()}"
    changes = [f"model.path={workshop.separable.as_posix()}", "~convert", teacher, "output.dir=out"]
    changes.append("schedule.epochs=1")
    done = dsft("finetune", workshop.separable_recipe, *changes, "freeze.0.until=2it")
    assert done.exit_code == 0, done.stderr
    assert not (here / "out" / "conversion.json").exists()
    assert (here / "out" / "evaluation" / "test-original").is_dir()
    assert not (here / "out" / "evaluation" / "test-converted").exists()
    before, after = (read(run / "model" / "manifest.json") for run in (workshop.separable, here / "out"))
    assert after["plan"] == before["plan"]
    assert after["sha256"] != before["sha256"]


@pytest.mark.usefixtures("here")
def test_training_from_scratch_may_be_separable(workshop: Workshop) -> None:
    budget = "convert.budget={macs: 0.5, batch_size: 2, threads: 1}"
    done = dsft("train", workshop.dense_recipe, budget, "output.dir=out", "schedule.epochs=1", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["conversion"]) == [
        "verdict",
        "original",
        "converted",
        "measured_on",
        "trials",
        "recovery",
        "data_dependent",
    ]
    assert result["conversion"]["measured_on"]["batch"] == 2
    assert list(result["scores"]) == ["val", "test"]
    assert read(Path("out/model/manifest.json"))["plan"]["method"] == "fresh"


def test_a_checkpoint_of_the_datas_classes_may_teach(workshop: Workshop, here: Path) -> None:
    state = load_file(workshop.dense / "model" / "model.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, "own.pth")
    changes = ["model.source=timm", "model.name=test_resnet", "model.path=null", "model.checkpoint=own.pth"]
    arguments = [*changes, "model.classes=data", "output.dir=out", "schedule.epochs=1", "~freeze", "--json"]
    done = dsft("finetune", workshop.separable_recipe, *arguments)
    assert done.exit_code == 0, done.stderr
    assert "entry 'state_dict', with the prefix 'module.' removed" in done.stderr
    scores = json.loads(done.stdout)["scores"]
    dense = read(workshop.dense / "evaluation" / "test" / "metrics.json")
    assert scores["test-original"] == dense
    assert scores["val-teacher"]["split"] == "val"
    assert (here / "out" / "model").is_dir()


@pytest.mark.usefixtures("here")
def test_overwriting_leaves_nothing_of_the_earlier_run(workshop: Workshop) -> None:
    shutil.copytree(workshop.separable, "out")
    done = dsft("train", workshop.dense_recipe, "output.dir=out", "schedule.epochs=1", "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert files(Path("out")) == files(workshop.dense)


@pytest.mark.usefixtures("here")
def test_a_dry_run_writes_nothing_and_prints_the_plan(workshop: Workshop) -> None:
    # Also where the output folder is taken.
    shutil.copytree(workshop.separable, "out")
    before = contents(Path())
    arguments = ["finetune", str(workshop.separable_recipe), "output.dir=out", "--dry-run"]
    done = dsft(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "dry run: loss " in done.stderr
    assert "the run would take 8 steps. Nothing written." in done.stderr
    assert "(method refit)" in done.stdout
    assert "layer1.0.conv1" in done.stdout
    result = json.loads(dsft(*arguments, "--json").stdout)
    assert (result["folder"], result["conversion"], result["scores"]) == (None, None, {})
    assert result["plan"] == read(workshop.separable / "model" / "manifest.json")["plan"]
    assert contents(Path()) == before


@pytest.mark.usefixtures("here")
def test_a_run_that_fails_exits_with_1_says_why_and_can_be_replaced(workshop: Workshop) -> None:
    train = ["train", str(workshop.dense_recipe), "output.dir=out", "schedule.epochs=1"]
    done = dsft(*train, "optim.lr=1e30", "optim.opt=sgd")
    assert done.exit_code == 1
    assert "error: the loss must be finite, found nan at step" in done.stderr
    assert done.stdout == ""
    assert {path for path in files(Path("out")) if not path.startswith("checkpoints/last/")} == RUN - {"metrics.jsonl"}
    log = Path("out/train.log").read_text(encoding="utf-8").splitlines()
    assert "  ended by TrainingError: the loss must be finite" in log[-1]
    assert dsft(*train).exit_code == 2
    assert dsft(*train, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    "whom", [pytest.param("the run", id="run"), pytest.param("its whole group", id="group", marks=pytest.mark.slow)]
)
def test_a_run_that_is_terminated_leaves_its_last_checkpoint(workshop: Workshop, here: Path, whom: str) -> None:
    changes = ["output.dir=out", "schedule.epochs=10000", "data.workers=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dsft", "train", str(workshop.dense_recipe), *changes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(library.__file__).parents[1])},
        start_new_session=True,
    )
    deadline = time.monotonic() + 300  # a busy machine starts slowly
    while not (here / "out" / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    # As timeout, systemd and scancel do it, the processes that read images are told as well.
    send = os.kill if whom == "the run" else os.killpg
    send(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert stdout == ""
    assert "stopped: stopped by SIGTERM after step" in stderr
    assert "Traceback" not in stderr
    assert (here / "out" / "checkpoints" / "last" / "state.pt").is_file()
    assert not (here / "out" / "model").exists()
    assert "ended by InterruptedRun" in (here / "out" / "train.log").read_text(encoding="utf-8").splitlines()[-1]
