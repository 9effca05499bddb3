"""Clips of videos through every command."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dsft.artifact import read_manifest
from dsft.assembly import load_folder
from dsft.data.clip import read_clip
from dsft.preprocessing import ClipPreprocessing
from tests.data.videos import moving_bar, write_video, write_videos
from tests.runs import Runs
from tests.workshop import dsft

_DENSE = """\
version: 1
name: dense
model: {{source: builtin, name: cnn3d_16}}
data: {{source: frames, root: "{folder}/videos", clip: {{frames: 6, size: 16}}, batch_size: 8, workers: 0,
       test: {{fraction: 0.3}}}}
augment: {{scale: [0.6, 1.0], color_jitter: 0.1}}
optim: {{lr: 1e-2}}
schedule: {{epochs: 4, warmup_epochs: 0}}
train: {{device: cpu}}
output: {{dir: "{folder}/runs/${{name}}"}}
"""


@dataclass(frozen=True)
class Work(Runs):
    """Videos, a recipe, and a finished run."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = Work(tmp_path_factory.mktemp("clips"))
    write_videos(work.folder / "videos", 30)
    work.recipe.write_text(_DENSE.format(folder=work.folder.as_posix()))
    work.run("train", work.recipe)
    return work


def test_the_folder_records_the_input(work: Work) -> None:
    found = read_manifest(work.dense / "model").preprocessing
    assert isinstance(found, ClipPreprocessing)
    assert (found.frames, found.stride, found.image_size, found.channels) == (6, 1, (16, 16), 3)
    assert json.loads((work.dense / "evaluation/test/metrics.json").read_text())["top1"] > 80
    assert "6 frames, of 16 x 16 pixels, 3 channels" in (work.dense / "report.html").read_text()


@pytest.mark.slow
def test_a_run_is_converted_and_fine_tuned(work: Work) -> None:
    recipe = work.folder / "separable.yaml"
    recipe.write_text(
        f'extends: dense.yaml\nname: separable\nmodel: {{source: dsft, name: null, path: "{work.dense.as_posix()}"}}\n'
        "convert: {budget: {macs: 0.6}, calibration: {images: 16}}\ndistill: {teacher: original, logits: 0.5}\n"
        "schedule: {epochs: 1}\n"
    )
    work.run("finetune", recipe)
    (found,) = (work.folder / "runs" / "separable").rglob("conversion.json")
    plan = json.loads(found.read_text())
    assert plan["converted"]["macs"] <= 0.6 * plan["original"]["macs"]
    both = work.run("evaluate", work.dense, work.folder / "runs" / "separable", "--no-time", "--json")
    first, second = json.loads(both.stdout)["models"]
    assert first["metrics"]["count"] == second["metrics"]["count"] == 18


def test_an_exported_file_and_predict_take_what_the_description_says(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    done = work.run("export", work.dense, "--out", out)
    assert "same top-1 on 100.00%" in done.stdout + done.stderr
    described = json.loads(Path(f"{out}.json").read_text())
    assert described["input"]["shape"] == ["batch", 3, 6, 16, 16]
    assert described["input"]["layout"] == "NCDHW"
    folder = work.folder / "videos" / "left" / "video03"
    inputs = _by_hand(folder, described["preprocessing"]["steps"])
    found = onnxruntime.InferenceSession(out).run(None, {described["input"]["name"]: inputs})[0]
    with torch.no_grad():
        expected = load_folder(work.dense).module.eval()(torch.from_numpy(inputs))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    for model in (work.dense, out):
        row = next(csv.DictReader(io.StringIO(work.run("predict", model, folder, "--format", "csv").stdout)))
        probabilities = expected.softmax(1).max(1).values
        np.testing.assert_allclose(float(row["probability"]), float(probabilities[0]), atol=2e-3)


@pytest.mark.slow
def test_predictions_are_the_mean_of_several_clips(work: Work, tmp_path: Path) -> None:
    work.run("train", work.recipe, "name=several", "data.clip.clips=3", "schedule.epochs=1")
    run, folder = work.folder / "runs" / "several", work.folder / "videos" / "left" / "video03"
    network = load_folder(run)
    found = network.preprocessing
    assert isinstance(found, ClipPreprocessing)
    assert found.clips == 3
    frames = read_clip(folder).read(range(12))
    images = [Image.fromarray(frame).resize((16, 16), Image.Resampling.BILINEAR) for frame in frames]
    resized = [np.asarray(image, np.float64) for image in images]
    values = (np.stack(resized) / 255 - np.array(found.mean)) / np.array(found.std)
    inputs = torch.from_numpy(np.stack([values[at : at + 6] for at in (0, 3, 6)])).permute(0, 4, 1, 2, 3).float()
    with torch.no_grad():
        expected = network.module.eval()(inputs).softmax(1).mean(0)
    for options in ((run, folder), (tmp_path / "net.onnx", folder)):
        if options[0] != run:
            work.run("export", run, "--out", options[0])
        row = next(csv.DictReader(io.StringIO(work.run("predict", *options, "--format", "csv").stdout)))
        np.testing.assert_allclose(float(row["probability"]), float(expected.max()), atol=2e-3)


def test_videos_that_differ_from_the_training_videos_are_predicted(work: Work, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    write_video(tmp_path / "new" / "short", moving_bar(1, generator, frames=2))
    write_video(tmp_path / "new" / "wide", moving_bar(1, generator, side=40)[:, :25])
    write_video(tmp_path / "new" / "grey", moving_bar(1, generator)[..., 0])
    write_video(tmp_path / "new" / "damaged", moving_bar(1, generator))
    (tmp_path / "new" / "damaged" / "frame_4.png").write_bytes(b"\x89PNG")
    done = dsft("predict", work.dense, tmp_path / "new", "--format", "csv")
    assert "frame_4.png' cannot be read as an image" in done.stderr
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 3
    assert dsft("predict", work.dense, tmp_path / "new", "--bad-images", "error").exit_code == 2
    file = dsft("predict", work.dense, tmp_path / "new" / "short" / "frame_0.png", "--bad-images", "error")
    assert file.exit_code == 2
    assert "it must be a folder of frames" in " ".join(file.stderr.split())


def test_data_are_checked(work: Work, tmp_path: Path) -> None:
    write_videos(tmp_path / "videos", 8)
    generator = np.random.default_rng(2)
    damaged = write_video(tmp_path / "videos" / "left" / "damaged", moving_bar(1, generator))
    (damaged / "frame_7.png").write_bytes(b"")
    sizes = write_video(tmp_path / "videos" / "left" / "sizes", moving_bar(1, generator))
    Image.new("RGB", (8, 8)).save(sizes / "frame_5.png")
    done = dsft("data", "check", work.recipe, f"data.root={(tmp_path / 'videos').as_posix()}", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {entry["key"] for entry in found["corrupt"]} == {"left/damaged", "left/sizes"}
    assert found["splits"]["train"]["frames"] == [12, 12, 12]
    table = work.run("data", "check", work.recipe)
    assert re.search(r"split +clips +corrupt +grayscale +frame +width +height", table.stdout)


@pytest.mark.slow
def test_a_run_that_is_killed_is_resumed_to_the_same_weights(work: Work) -> None:
    work.check_resume()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["augment.time_mask=0.5"], "augment.time_mask: is for signals, and source frames has clips"),
        (["augment.cutmix=0.5"], "augment.cutmix: is for images, and source frames has clips"),
        (["data.image_size=32"], "data.image_size: requires source"),
        (["data.source=digits", "~data.root", "~data.clip"], "has images, and the network takes clips"),
        (["model={source: timm, name: test_resnet}"], "clip"),
    ],
)
def test_what_clips_cannot_have_is_an_error(work: Work, changes: list[str], message: str) -> None:
    done = dsft("train", work.recipe, "name=wrong", *changes)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.split()))


def _by_hand(folder: Path, steps: list[dict[str, object]]) -> NDArray[np.float32]:
    """Preprocess a video of 12 frames with Pillow and NumPy, as the steps say."""
    chosen, normalize = steps[1], steps[-2]
    assert (chosen["frames"], chosen["stride"], chosen["behind_the_end"]) == (6, 1, "repeat the last frame")
    start = max(12 - (6 - 1) * 1 - 1, 0) // 2
    images = [Image.open(folder / f"frame_{start + number}.png") for number in range(6)]
    resized = [image.resize((16, 16), Image.Resampling.BILINEAR) for image in images]
    values = np.stack([np.asarray(image) for image in resized]).astype(np.float64) / 255
    values = (values - np.array(normalize["mean"])) / np.array(normalize["std"])
    inputs: NDArray[np.float32] = values.transpose(3, 0, 1, 2)[None].astype(np.float32)
    return inputs
