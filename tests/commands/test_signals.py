"""Signals through every command: sound files and arrays, raw and as spectrograms."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from dsft.artifact import read_manifest
from dsft.assembly import load_folder
from dsft.data.signal_transforms import SignalTransform
from dsft.data.sound import read_signal
from dsft.preprocessing import SignalPreprocessing
from tests.data.sounds import tone, write_tones, write_wav
from tests.runs import Runs
from tests.workshop import dsft

CLASSES = {"high": 1500.0, "low": 300.0, "middle": 700.0}
_DENSE = """\
version: 1
name: dense
model: {{source: python, builder: "{folder}/net.py:make"}}
data: {{source: audio, root: "{folder}/sounds", signal: {{length: 3000}}, batch_size: 12, workers: 0}}
augment: {{shift: 0.1, gain: 3, noise: 0.1, time_mask: 0.1, mixup: 0.2}}
optim: {{lr: 5e-3}}
schedule: {{epochs: 3, warmup_epochs: 0}}
train: {{device: cpu}}
output: {{dir: "{folder}/runs/${{name}}"}}
"""
_NET = """\
from torch import nn

def conv(before, after, kernel, stride=1):
    return nn.Sequential(nn.Conv1d(before, after, kernel, stride, kernel // 2), nn.BatchNorm1d(after), nn.ReLU())

def make():
    head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 3))
    return nn.Sequential(conv(1, 16, 25, 8), conv(16, 32, 9, 2), conv(32, 32, 9, 2), head)
"""


@dataclass(frozen=True)
class Work(Runs):
    """Sound files, a recipe, and a finished run."""

    @property
    def builder(self) -> tuple[str, str]:
        return ("--builder", f"{(self.folder / 'net.py').as_posix()}:make")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = Work(tmp_path_factory.mktemp("signals"))
    write_tones(work.folder / "sounds", CLASSES, 24)
    (work.folder / "net.py").write_text(_NET)
    work.recipe.write_text(_DENSE.format(folder=work.folder.as_posix()))
    work.run("train", work.recipe)
    return work


def test_the_folder_records_the_input(work: Work) -> None:
    found = read_manifest(work.dense / "model").preprocessing
    assert isinstance(found, SignalPreprocessing)
    assert (found.length, found.rate, found.channels, found.spectrogram) == ((3000,), 8000, 1, None)
    assert json.loads((work.dense / "evaluation/test/metrics.json").read_text())["top1"] > 60


def test_a_run_is_converted_and_fine_tuned(work: Work) -> None:
    converted = work.folder / "converted"
    done = work.run("convert", work.dense, *work.builder, "--budget", "macs=0.6", "--out", converted)
    assert "calibration: 51 signals" in done.stderr
    plan = json.loads((converted / "conversion.json").read_text())
    assert plan["converted"]["macs"] <= 0.6 * plan["original"]["macs"]
    assert {layer["decision"] for layer in plan["layers"]} == {"converted", "kept"}
    recipe = work.folder / "separable.yaml"
    recipe.write_text(
        f'extends: dense.yaml\nname: separable\nmodel: {{source: dsft, path: "{work.dense.as_posix()}/model"}}\n'
        "convert: {budget: {macs: 0.6}, calibration: {images: 32}}\ndistill: {teacher: original, logits: 0.5}\n"
        "schedule: {epochs: 1}\n"
    )
    work.run("finetune", recipe)
    both = work.run("evaluate", work.dense, work.folder / "runs" / "separable", *work.builder, "--no-time", "--json")
    first, second = json.loads(both.stdout)["models"]
    assert first["metrics"]["count"] == second["metrics"]["count"] == 14


def test_predictions_are_those_of_the_network_by_hand(work: Work) -> None:
    paths = sorted((work.folder / "sounds" / "low").glob("*.wav"))[:5]
    done = work.run("predict", work.dense, *paths, *work.builder, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    network = load_folder(work.dense, _builder(work))
    transform = SignalTransform(_signals(network.preprocessing))
    with torch.no_grad():
        logits = network.module.eval()(torch.stack([transform(read_signal(path)) for path in paths]))
    probabilities, classes = logits.softmax(1).max(1)
    assert [row["class"] for row in rows] == [sorted(CLASSES)[index] for index in classes.tolist()]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, atol=1e-5)


def test_files_that_differ_from_the_training_signals_are_predicted(work: Work, tmp_path: Path) -> None:
    stereo = np.stack([tone(300, 9000, 24000)] * 2, axis=1)
    paths = [
        write_wav(tmp_path / "fast.wav", tone(300, 12000, 32000), 32000),
        write_wav(tmp_path / "stereo.wav", stereo, 24000),
        write_wav(tmp_path / "short.wav", tone(300, 50)),
        write_wav(tmp_path / "silent.wav", np.zeros(4000, np.float32)),
    ]
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    done = dsft("predict", work.dense, tmp_path, *work.builder, "--format", "csv")
    assert "damaged.wav' cannot be read as a signal" in done.stderr
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == len(paths)
    strict = dsft("predict", work.dense, tmp_path, *work.builder, "--bad-inputs", "error")
    assert strict.exit_code != 0


def test_an_exported_file_takes_what_its_description_says(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    done = work.run("export", work.dense, *work.builder, "--out", out)
    assert "same top-1 on 100.00%" in done.stdout + done.stderr
    described = json.loads(Path(f"{out}.json").read_text())
    assert (described["input"]["shape"], described["input"]["layout"]) == (["batch", 1, 3000], "NCL")
    path = next((work.folder / "sounds" / "high").glob("*.wav"))
    found = onnxruntime.InferenceSession(out).run(None, {described["input"]["name"]: _by_hand(path, described)})[0]
    network = load_folder(work.dense, _builder(work))
    with torch.no_grad():
        expected = network.module.eval()(SignalTransform(_signals(network.preprocessing))(read_signal(path))[None])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    again = work.run("predict", out, path, "--format", "csv")
    assert "high.wav" in again.stdout or "class" in again.stdout


def test_data_are_checked(work: Work, tmp_path: Path) -> None:
    write_tones(tmp_path, CLASSES, 6)
    write_wav(tmp_path / "low" / "silent.wav", np.zeros(3000, np.float32))
    (tmp_path / "low" / "damaged.flac").write_bytes(b"fLaC")
    done = dsft("data", "check", tmp_path, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [entry["key"] for entry in found["corrupt"]] == ["low/damaged.flac"]
    assert sum(split["silent"] for split in found["splits"].values()) == 1
    assert found["splits"]["train"]["rates"] == [8000, 8000, 8000]
    table = dsft("data", "check", work.folder / "sounds")
    assert re.search(r"split +signals +corrupt +silent +length +rate +channel", table.stdout)


def test_sounds_without_labels_calibrate(work: Work, tmp_path: Path) -> None:
    for number in range(16):
        write_wav(tmp_path / "plain" / f"{number}.wav", tone(200 + 90 * number))
    command = ("convert", work.dense, *work.builder, "--budget", "macs=0.6", "--data", tmp_path / "plain")
    done = work.run(*command, "--out", tmp_path / "out")
    assert "calibration: 16 signals" in done.stderr
    assert "have no labels" in done.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_is_resumed_to_the_same_weights(work: Work) -> None:
    work.check_resume()


def test_a_spectrogram_trains_a_network_of_images(work: Work) -> None:
    changes = [
        "name=mel",
        "~model.builder",
        "model.source=timm",
        "model.name=test_resnet",
        "data.signal={length: 3000, spectrogram: {bands: 32, window: 256, hop: 96}}",
        "augment.frequency_mask=0.1",
        "schedule.epochs=1",
    ]
    work.run("train", work.recipe, *changes)
    model = work.folder / "runs" / "mel"
    found = read_manifest(model / "model").preprocessing
    assert found is not None
    assert found.shape == (1, 32, 32)
    sound = next((work.folder / "sounds" / "low").glob("*.wav"))
    assert "probability" in work.run("predict", model, sound, "--format", "csv").stdout
    page = (model / "report.html").read_text()
    assert "3000 samples at 8,000 Hz, 1 channel, as 32 mel bands x 32 frames" in page
    source = f"model={{source: dsft, path: {model.as_posix()}/model}}"
    work.run("finetune", work.recipe, "name=again", source, "data.signal=null", "schedule.epochs=1")
    again = read_manifest(work.folder / "runs" / "again" / "model").preprocessing
    assert again == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["augment.hflip=0.5"], "augment.hflip: needs signals with at least two axes"),
        (["data.image_size=32"], "data.image_size: requires source"),
        (["augment.frequency_mask=0.1"], r"requires data\.signal\.spectrogram"),
        (["data.groups={pattern: '^[ab]_', held_out: [a]}"], "must have a group in parentheses"),
        (["~model.builder", "model.source=timm", "model.name=test_resnet"], r"needs data\.signal\.spectrogram"),
    ],
)
def test_what_signals_cannot_have_is_an_error(work: Work, changes: list[str], message: str) -> None:
    done = dsft("train", work.recipe, "name=wrong", *changes)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.split()))


def test_a_speaker_is_held_out(work: Work) -> None:
    change = "data.groups={pattern: '^([ab])_', held_out: [b]}"
    work.run("train", work.recipe, "name=group", "schedule.epochs=1", change)
    table = (work.folder / "runs/group/evaluation/test/predictions.csv").read_text()
    rows = csv.DictReader(io.StringIO(table))
    assert [Path(row["key"]).name[0] for row in rows] == ["b"] * 36


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrays")
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    frequencies = np.array([[30.0], [80.0], [150.0]])[labels] * generator.uniform(0.9, 1.1, (60, 1))
    signals = np.sin(frequencies * np.linspace(0, 2 * np.pi, 600))[:, None] + generator.normal(0, 0.1, (60, 1, 600))
    np.savez(folder / "train.npz", x=signals.astype(np.float32), y=labels)
    return folder / "train.npz"


def test_arrays_are_trained_on_converted_and_predicted(work: Work, arrays: Path, tmp_path: Path) -> None:
    data = f"data={{source: arrays, root: {arrays.as_posix()}, batch_size: 12, workers: 0}}"
    work.run("train", work.recipe, "name=arrays", data, "schedule.epochs=2")
    model = work.folder / "runs" / "arrays"
    work.run("convert", model, *work.builder, "--budget", "macs=0.6", "--out", tmp_path / "out")
    np.save(tmp_path / "one.npy", np.load(arrays)["x"][7])
    done = work.run("predict", tmp_path / "out", tmp_path / "one.npy", *work.builder, "--format", "csv")
    assert next(csv.DictReader(io.StringIO(done.stdout)))["class"] in "012"
    np.save(tmp_path / "volume.npy", np.zeros((1, 2, 300), np.float32))
    refused = dsft("predict", tmp_path / "out", tmp_path / "volume.npy", *work.builder)
    assert "volume.npy': a signal must have 2 axes, channels first" in " ".join(refused.stderr.split())
    assert "skip" not in refused.stderr


def test_a_network_that_states_its_input_is_converted_without_a_run(arrays: Path, tmp_path: Path) -> None:
    text = _NET.replace("    return nn.Sequential(conv(1, 16", "    net = nn.Sequential(conv(1, 16")
    (tmp_path / "net.py").write_text(f"{text}    net.pretrained_cfg = {{'input_size': (1, 600)}}\n    return net\n")
    builder = f"{(tmp_path / 'net.py').as_posix()}:make"
    command = (
        "convert",
        "--builder",
        builder,
        "--classes",
        "data",
        "--data",
        arrays.parent,
        "--budget",
        "macs=0.6",
    )
    done = dsft(*command, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    found = read_manifest(tmp_path / "out").preprocessing
    assert found == SignalPreprocessing((600,), 1, (0.0,), (1.0,))


_VOLUMES = """\
from torch import nn

def conv(before, after):
    return nn.Sequential(nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU())

class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.inside = conv(1, 8), nn.Sequential(nn.MaxPool3d(2), conv(8, 16), nn.Upsample(scale_factor=2))
        self.up = nn.Sequential(conv(24, 8), nn.Conv3d(8, 2, 1))

    def forward(self, volumes):
        import torch
        found = self.down(volumes)
        return self.up(torch.cat([found, self.inside(found)], 1))

def make():
    return UNet()

def clips():
    head = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 2))
    return nn.Sequential(conv(1, 8), nn.MaxPool3d(2), conv(8, 16), head)
"""


def test_volumes_are_segmented_with_the_classes_of_their_samples(work: Work, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"))
    centres, radii = generator.uniform(3, 9, (40, 3, 1, 1, 1)), generator.uniform(2, 4, (40, 1, 1, 1))
    masks = (((grid - centres) ** 2).sum(1) < radii**2).astype(np.uint8)
    values = (masks + generator.normal(0, 0.3, masks.shape)).astype(np.float32)[:, None]
    np.savez(tmp_path / "balls.npz", x=values, y=masks, classes=["outside", "ball"])
    (tmp_path / "net.py").write_text(_VOLUMES)
    builder = f"{(tmp_path / 'net.py').as_posix()}:make"
    changes = [
        "name=balls",
        "task=segmentation",
        f"model.builder={builder}",
        f"data={{source: arrays, root: {(tmp_path / 'balls.npz').as_posix()}, batch_size: 8, workers: 0}}",
        "augment={shift: 0.1, noise: 0.1}",
        f"output.dir={(tmp_path / 'run').as_posix()}",
    ]
    work.run("train", work.recipe, *changes)
    metrics = json.loads((tmp_path / "run/evaluation/test/metrics.json").read_text())
    assert metrics["miou"] > 0.8
    assert (tmp_path / "run/evaluation/test/worst.png").is_file()
    convert = ("convert", tmp_path / "run", "--builder", builder, "--budget", "macs=0.6")
    work.run(*convert, "--out", tmp_path / "converted")
    np.save(tmp_path / "one.npy", values[3])
    folder = tmp_path / "predicted"
    work.run("predict", tmp_path / "converted", tmp_path / "one.npy", "--builder", builder, "--pictures", folder)
    found = np.load(folder / "one.npy")
    common, union = (found & masks[3]).sum(), (found | masks[3]).sum()
    assert found.shape == masks[3].shape
    assert common / union > 0.5
    wrong = dsft("train", work.recipe, *changes[2:], "name=wrong", f"output.dir={(tmp_path / 'wrong').as_posix()}")
    assert wrong.exit_code == 2
    assert "classification needs one class for a signal, found a mask" in " ".join(wrong.stderr.split())


def test_clips_are_classified(work: Work, tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    clips = np.random.default_rng(0).normal(0, 0.2, (40, 1, 6, 10, 10)).astype(np.float32)
    for clip, label in zip(clips[:, 0], labels, strict=True):
        for frame in range(6):
            clip[frame, 4:6, 2 + (frame if label else 5 - frame)] += 2
    np.savez(tmp_path / "clips.npz", x=clips, y=labels, classes=["left", "right"])
    (tmp_path / "net.py").write_text(_VOLUMES)
    work.run(
        "train",
        work.recipe,
        "name=clips",
        f"model.builder={(tmp_path / 'net.py').as_posix()}:clips",
        f"data={{source: arrays, root: {(tmp_path / 'clips.npz').as_posix()}, batch_size: 8, workers: 0}}",
        f"output.dir={(tmp_path / 'run').as_posix()}",
    )
    assert json.loads((tmp_path / "run/evaluation/test/metrics.json").read_text())["count"] == 8


def _builder(work: Work) -> Any:
    from dsft.models import Builder

    return Builder.parse(work.builder[1])


def _signals(preprocessing: Any) -> SignalPreprocessing:
    assert isinstance(preprocessing, SignalPreprocessing)
    return preprocessing


def _by_hand(path: Path, described: dict[str, Any]) -> Any:
    """Preprocess a file of 8 kHz with NumPy alone, as the steps say."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    values = samples.T
    for step in described["preprocessing"]["steps"]:
        if step["op"] == "resample":
            assert step["rate"] == rate
        if step["op"] == "mix_channels":
            values = values.mean(0, keepdims=True)
        if step["op"] == "crop_or_pad":
            (length,), size = step["length"], values.shape[1]
            offset = int((length - size) / 2)
            fitted = np.zeros((1, length), np.float32)
            if offset >= 0:
                fitted[:, offset : offset + size] = values
            else:
                fitted = values[:, -offset : -offset + length]
            values = fitted
        if step["op"] == "normalize":
            values = (values - np.array(step["mean"])[:, None]) / np.array(step["std"])[:, None]
    return values[None].astype(np.float32)
