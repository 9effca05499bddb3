"""Segmentation and restoration of images that are larger than the input, in windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dsft.choices import SplitName
from dsft.data.sources.scenes import draw_scene
from tests.commands.test_dense_tasks import MAIN, Work, write_work
from tests.workshop import dsft

STARTS = (0, 12, 24)
"""Of windows of 24 pixels that overlap by half, in an image of 48 pixels."""


@pytest.fixture(scope="module", params=list(MAIN))
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Work:
    found = write_work(request.param, tmp_path_factory.mktemp(f"windows-{request.param}"))
    found.run("train", found.recipe, "data.window_overlap=0.5")
    return found


def averaged(work: Work, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean of the network's outputs over nine windows."""
    network = work.load(work.dense)
    own = network.preprocessing
    pixels = (image / 255 - own.mean[0]) / own.std[0]
    total, count = np.zeros(()), np.zeros((48, 48))
    for top in STARTS:
        for left in STARTS:
            place = (slice(top, top + 24), slice(left, left + 24))
            with torch.no_grad():
                output = network.module(torch.from_numpy(pixels[place].astype(np.float32))[None, None])[0].double()
            whole = np.zeros((len(output), 48, 48))
            whole[(slice(None), *place)] = output.numpy()
            total, count[place] = total + whole, count[place] + 1
    return total / count


def test_predictions_and_scores_are_those_of_the_averaged_outputs(work: Work, tmp_path: Path) -> None:
    manifest = json.loads((work.dense / "model" / "manifest.json").read_text("utf-8"))
    assert manifest["preprocessing"]["window_overlap"] == 0.5
    photo = tmp_path / "photo.png"
    image = draw_scene(SplitName.TEST, 0)[0]
    Image.fromarray(image).save(photo)
    work.run("predict", work.dense, photo, "--pictures", tmp_path / "out")
    predicted, expected = np.asarray(Image.open(tmp_path / "out" / "photo.png")), averaged(work, image.astype(float))
    if work.task == "restoration":
        assert np.abs(predicted.astype(int) - (expected[0].clip(0, 1) * 255).round()).max() <= 1
        return
    assert (predicted == expected.argmax(0)).mean() > 0.999
    # The masks have the size of the images too; their first row has no class.
    pairs = [draw_scene(SplitName.TEST, index) for index in range(3)]
    found = np.stack([averaged(work, each.astype(float)).argmax(0) for each, _ in pairs])[:, 1:]
    truth = np.stack([mask > 0 for _, mask in pairs])[:, 1:]
    iou = [((found == n) & (truth == n)).sum() / ((found == n) | (truth == n)).sum() for n in range(2)]
    assert work.metrics(work.dense)["miou"] == pytest.approx(np.mean(iou), abs=1e-4)


def test_windows_are_an_option_of_the_commands(work: Work) -> None:
    scores = []
    for overlap in ("0.5", "0"):
        done = work.run("evaluate", work.dense, "--no-time", "--json", "--window-overlap", overlap)
        (model,) = json.loads(done.stdout)["models"]
        scores.append(model["metrics"][MAIN[work.task]])
    recorded = work.metrics(work.dense)[MAIN[work.task]]
    assert scores[0] == pytest.approx(recorded, rel=1e-6)
    assert scores[1] != scores[0]


@pytest.mark.slow
def test_a_model_of_windows_is_converted_fine_tuned_and_exported(work: Work, tmp_path: Path) -> None:
    work.run("finetune", work.folder / "separable.yaml")
    manifest = json.loads((work.separable / "model" / "manifest.json").read_text("utf-8"))
    # As its weights were trained.
    assert manifest["preprocessing"]["window_overlap"] == 0.5
    file = tmp_path / "net.onnx"
    work.run("export", work.separable, "--out", file)
    done = work.run("evaluate", work.separable, file, "--data", work.recipe, "--no-time", "--json")
    folder, exported = (each["metrics"] for each in json.loads(done.stdout)["models"])
    assert exported[MAIN[work.task]] == pytest.approx(folder[MAIN[work.task]], abs=1e-3)


def test_windows_are_for_segmentation_and_restoration() -> None:
    done = dsft("train", "scenes_detection_dense", "data.window_overlap=0.5")
    assert done.exit_code == 2
    assert "data.window_overlap: requires task segmentation or restoration" in " ".join(done.stderr.split())
