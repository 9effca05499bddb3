"""Detection on images that keep their aspect ratio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.commands.test_detection import write_work
from tests.metrics.test_detection import coco_precisions
from tests.workshop import dsft


def widen(folder: Path) -> None:
    """Give the images of a split another aspect ratio, with their boxes."""
    for file in folder.glob("*.png"):
        with Image.open(file) as image:
            image.resize((72, 48)).save(file)
    file = folder / "boxes.json"
    document = json.loads(file.read_text("utf-8"))
    for each in document["annotations"]:
        left, top, width, height = each["bbox"]
        each["bbox"] = [1.5 * left, top, 1.5 * width, height]
    file.write_text(json.dumps(document), "utf-8")


def test_scores_are_those_of_pycocotools_on_the_predicted_boxes(tmp_path: Path) -> None:
    work = write_work(tmp_path)
    for split in ("train", "val", "test"):
        widen(tmp_path / "scenes" / split)
    work.run("train", work.recipe, "data.letterbox=true", "evaluate.splits=[test]")
    manifest = json.loads((work.dense / "model" / "manifest.json").read_text("utf-8"))
    assert manifest["preprocessing"]["crop_mode"] == "border"
    out, test = tmp_path / "found.json", tmp_path / "scenes" / "test"
    work.run("predict", work.dense, test, "--threshold", "0", "--out", out)
    found, truth = (json.loads(file.read_text("utf-8")) for file in (out, test / "boxes.json"))
    names = [Path(each["file_name"]).name for each in found["images"]]
    numbers = {each["id"]: each["file_name"] for each in truth["images"]}
    outputs, targets = torch.zeros(len(names), 100, 6), torch.zeros(len(names), 9, 6)
    outputs[:, :, 5] = targets[:, :, 4] = -1
    for index, name in enumerate(names):
        own = [each for each in found["annotations"] if each["image_id"] == index + 1]
        for row, each in enumerate(own):
            left, top, width, height = each["bbox"]
            number = each["category_id"] - 1
            outputs[index, row] = torch.tensor([left, top, left + width, top + height, each["score"], number])
            # In pixels of the file, in which the image is not square.
            assert 0 <= left <= left + width <= 72.01
            assert 0 <= top <= top + height <= 48.01
        for row, each in enumerate(each for each in truth["annotations"] if numbers[each["image_id"]] == name):
            left, top, width, height = each["bbox"]
            number = (each["category_id"] - 5) // 2
            targets[index, row] = torch.tensor([left, top, left + width, top + height, number, 0])
    expected, scores = coco_precisions(outputs, targets, 10), work.metrics(work.dense)
    with_boxes = (expected > -1).all(1)
    assert (outputs[:, :, 5] >= 0).sum() > 100
    assert scores["map"] == pytest.approx(expected[with_boxes].mean(), abs=1e-5)
    assert scores["map50"] == pytest.approx(expected[with_boxes, 0].mean(), abs=1e-5)


def test_a_letterbox_is_for_detection_only() -> None:
    done = dsft("train", "scenes_segmentation_dense", "data.letterbox=true")
    assert done.exit_code == 2
    assert "data.letterbox: requires task detection" in " ".join(done.stderr.split())
