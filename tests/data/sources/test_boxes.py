"""The sources with boxes read the same data set from each format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsft.choices import DataSource, SplitName, TargetKind
from dsft.data import check_examples, make_splits
from dsft.data.sources import DataLocation, open_source, target_kind_of
from dsft.data.sources.coco import open_coco
from dsft.data.sources.voc import open_voc
from dsft.data.sources.yolo import open_yolo
from dsft.errors import DataError
from tests.data.sources.box_folders import BOXES, CLASSES, SIZE, WRITERS, coco_document, write_coco, write_images


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_format_gives_the_same_boxes(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "data")
    sources = open_source(DataLocation(DataSource(name), tmp_path / "data"))
    splits = make_splits(sources, val=0.1, test=0.1, seed=0)
    assert sorted(splits.classes) == list(CLASSES)
    for split in (splits.train, splits.val, splits.test):
        assert split is not None
        assert target_kind_of(split.source) is TargetKind.BOXES
        assert split.keys == tuple(BOXES[split.name])
        for position, boxes in enumerate(BOXES[split.name].values()):
            found = split.read_target(position)
            assert isinstance(found, np.ndarray)
            assert found.shape == (len(boxes), 6)
            labels = [splits.classes[int(number)] for number in found[:, 4]]
            assert labels == [box[4] for box in boxes]
            np.testing.assert_allclose(found[:, :4], np.array([box[:4] for box in boxes]).reshape(-1, 4), atol=1e-4)
            assert not found[:, 5].any()
            assert split.source.read(position).size == SIZE
    assert splits.train.most_boxes == 2
    assert splits.train.targets[2] == ()
    assert splits.train.targets[0] == (0, 1)


def test_the_fingerprint_depends_on_the_boxes(tmp_path: Path) -> None:
    prints = []
    for number in range(2):
        write_coco(tmp_path / str(number))
        file = tmp_path / str(number) / "annotations" / "instances_train2017.json"
        document = json.loads(file.read_text("utf-8"))
        document["annotations"][0]["bbox"][2] += number
        file.write_text(json.dumps(document), "utf-8")
        prints.append(make_splits(open_coco(tmp_path / str(number)), val=0.1, test=0.1, seed=0).train.fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.parametrize("layout", ["beside", "below", "one"])
def test_a_coco_file_is_found_beside_its_images(layout: str, tmp_path: Path) -> None:
    for split in [SplitName.TRAIN] if layout == "one" else SplitName:
        folder = tmp_path if layout == "one" else tmp_path / split
        write_images(folder / "images" if layout != "beside" else folder, split)
        (folder / "_annotations.coco.json").write_text(json.dumps(coco_document(split)), "utf-8")
    sources = open_coco(tmp_path)
    assert list(sources) == ([SplitName.TRAIN] if layout == "one" else list(SplitName))
    assert all(source.read(0).size == SIZE for source in sources.values())


def test_a_crowd_is_marked_and_no_label_of_its_image(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    document = json.loads(file.read_text("utf-8"))
    document["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(document), "utf-8")
    split = make_splits(open_coco(tmp_path), val=0.1, test=0.1, seed=0).train
    boxes = split.read_target(0)
    assert isinstance(boxes, np.ndarray)
    assert boxes[:, 5].tolist() == [1, 0]
    assert [split.classes[number] for number in split.targets[0]] == ["cat"]  # type: ignore[union-attr]


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.__setitem__(key, value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change("images", None), "must be a COCO file with images"),
        (change("categories", []), "has category_id 3, which is not among its categories"),
        (lambda d: d["annotations"][0].update(image_id=99), "has image_id 99, which is not among its images"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "bbox of four numbers"),
        (lambda d: d["categories"][0].update(name="dog"), "found 'dog' twice"),
        (lambda d: d["images"][0].update(file_name="b.png"), "found 'b.png' twice"),
        (lambda d: d.update(annotations=[]), "has no boxes to train on"),
    ],
)
def test_a_wrong_coco_file_is_refused(spoil: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    document = json.loads(file.read_text("utf-8"))
    spoil(document)
    file.write_text(json.dumps(document), "utf-8")
    with pytest.raises(DataError, match=message):
        make_splits(open_coco(tmp_path), val=0.1, test=0.1, seed=0)


def test_missing_files_are_named(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    file.write_text("", "utf-8")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        open_coco(tmp_path / "coco")
    document = coco_document(SplitName.TRAIN)
    for entry in document["images"]:
        entry["file_name"] = f"elsewhere/{entry['file_name']}"
    file.write_text(json.dumps(document), "utf-8")
    with pytest.raises(DataError, match=r"none of its images, such as 'elsewhere/a\.png', is in"):
        open_coco(tmp_path / "coco")
    for opener in (open_coco, open_voc, open_yolo):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"data\.root .*must contain"):
            opener(tmp_path / "empty")
        with pytest.raises(DataError, match="must be a folder of images, found nothing"):
            opener(tmp_path / "missing")


def test_a_class_that_train_does_not_have_is_refused(tmp_path: Path) -> None:
    WRITERS["voc"](tmp_path)
    file = tmp_path / "val" / "Annotations" / "e.xml"
    file.write_text(file.read_text("utf-8").replace("dog", "horse"), "utf-8")
    with pytest.raises(DataError, match=r"the val split .*has classes that train does not have: 'horse'"):
        make_splits(open_voc(tmp_path), val=0.1, test=0.1, seed=0)


def test_lists_of_pascal_voc_divide_its_images(tmp_path: Path) -> None:
    WRITERS["voc"](tmp_path / "parts")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for split in SplitName:
        for path in (tmp_path / "parts" / split).rglob("*.*"):
            target = tmp_path / path.parent.name / path.name
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        names = "".join(f"{Path(name).stem}\n" for name in BOXES[split])
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text(names, "utf-8")
    sources = open_voc(tmp_path, class_names=["dog", "cat"])
    assert {split: tuple(source.keys) for split, source in sources.items()} == {
        split: tuple(boxes) for split, boxes in BOXES.items()
    }
    assert sources[SplitName.VAL].classes == ("dog", "cat")
    with pytest.raises(DataError, match=r"data\.class_names: must name every class .*'cat' is missing"):
        open_voc(tmp_path, class_names=["dog"])


def test_a_difficult_object_counts_as_a_crowd(tmp_path: Path) -> None:
    WRITERS["voc"](tmp_path)
    file = tmp_path / "val" / "Annotations" / "e.xml"
    file.write_text(file.read_text("utf-8").replace("<difficult>0", "<difficult>1"), "utf-8")
    boxes = open_voc(tmp_path)[SplitName.VAL].read_target(0)  # type: ignore[attr-defined]
    assert boxes[:, 5].tolist() == [1]


def test_a_yolo_polygon_gives_its_bounds_in_a_turned_image(tmp_path: Path) -> None:
    WRITERS["yolo"](tmp_path)
    (tmp_path / "labels" / "val" / "e.txt").write_text("1 0.1 0.2 0.5 0.3 0.2 0.9\n", "utf-8")
    turned = Image.new("RGB", (30, 40))
    exif = turned.getexif()
    exif[0x0112] = 6  # a camera that was held upright
    turned.save(tmp_path / "images" / "val" / "e.png", exif=exif)
    source: Any = open_yolo(tmp_path)[SplitName.VAL]
    assert source.read(0).size == SIZE
    np.testing.assert_allclose(source.read_target(0), [[4, 6, 20, 27, 1, 0]], atol=1e-5)


@pytest.mark.parametrize(
    ("source", "file", "text", "message"),
    [
        ("voc", "train/Annotations/a.xml", "", "must be an XML file .*ParseError"),
        ("voc", "train/Annotations/a.xml", None, "there is no such file"),
        ("voc", "train/Annotations/a.xml", "<a><object><name>cat</name></object></a>", "without name or bndbox"),
        ("yolo", "labels/train/a.txt", "5 0.5 0.5 0.1 0.1", "found class 5"),
        ("yolo", "labels/train/a.txt", "0 0.5 0.5 0.1", "found 4 numbers in a line"),
        ("yolo", "labels/train/a.txt", "0 0.5 0.5 0.9 x", "could not convert"),
        ("yolo", "labels/train/a.txt", "0 0.9 0.5 0.5 0.1", "every box must lie in its 40 x 30 pixels"),
        ("yolo", "labels/train/a.txt", "0 0.5 0.5 0 0.1", "every box must have an area"),
    ],
)
def test_data_check_finds_wrong_annotations(
    source: str, file: str, text: str | None, message: str, tmp_path: Path
) -> None:
    WRITERS[source](tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text, "utf-8")
    splits = make_splits(open_source(DataLocation(DataSource(source), tmp_path)), val=0.1, test=0.1, seed=0)
    found = check_examples([splits.train, splits.val])
    assert [each.key for each in found.corrupt] == ["a.png"]
    with pytest.raises(DataError, match=message):
        raise DataError(found.corrupt[0].message)


def test_class_names_of_yolo_are_needed(tmp_path: Path) -> None:
    WRITERS["yolo"](tmp_path)
    (tmp_path / "data.yaml").write_text("names: {1: cat, 2: dog}\n", "utf-8")
    with pytest.raises(DataError, match=r"data\.class_names: give a list of names, or a YAML file"):
        open_yolo(tmp_path)
    assert open_yolo(tmp_path, class_names=["cat", "dog"])[SplitName.TRAIN].classes == CLASSES
