from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.workshop import Workshop, dsft, write_split_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_split_pictures(tmp_path / "pictures")
    return tmp_path / "pictures"


def test_clean_data_passes(pictures: Path) -> None:
    done = dsft("data", "check", pictures, "--progress", "off")
    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("train", "val", "test"))] == [
        ["train", "18"],
        ["val", "9"],
        ["test", "9"],
    ]
    assert "leaks" not in done.stdout


def test_a_damaged_image_and_a_leak_fail(pictures: Path) -> None:
    (pictures / "val" / "bee" / "001.png").write_bytes(b"no image")
    shutil.copy(pictures / "train" / "ant" / "000.png", pictures / "test" / "cat" / "copy.png")
    done = dsft("data", "check", pictures)
    assert done.exit_code == 1
    shown = " ".join(done.stdout.split())
    assert "1 image cannot be read" in shown
    assert "identical pixels in two splits (1 in train and test)" in shown
    assert "train: ant/000.png (ant) = test: cat/copy.png (cat)" in shown
    found = json.loads(dsft("data", "check", pictures, "--json").stdout)
    assert not found["clean"]
    assert found["splits"]["train"]["classes"] == {"ant": 6, "bee": 6, "cat": 6}
    assert found["splits"]["train"]["widths"] == [24, 24, 24]
    assert [(image["split"], image["key"]) for image in found["corrupt"]] == [("val", "bee/001.png")]
    expected = [
        {"split": "train", "key": "ant/000.png", "class": "ant"},
        {"split": "test", "key": "cat/copy.png", "class": "cat"},
    ]
    assert found["leaks"] == found["contradictions"] == [expected]
    assert found["duplicates"] == []


def test_a_recipe_is_checked_as_its_run_would_split_it(workshop: Workshop) -> None:
    found = json.loads(dsft("data", "check", workshop.dense_recipe, "data.test.fraction=0.25", "--json").stdout)
    assert {name: contents["images"] for name, contents in found["splits"].items()} == {
        "train": 31,
        "val": 5,
        "test": 12,
    }


def test_invalid_input_is_reported(tmp_path: Path) -> None:
    assert dsft("data", "check", tmp_path / "nothere").exit_code == 2
    assert (
        "data: expected a folder of images or other inputs, the folder of a run, or a recipe"
        in dsft("data", "check", tmp_path / "nothere").stderr
    )
    (tmp_path / "table.csv").write_text("path,label\n", encoding="utf-8")
    done = dsft("data", "check", tmp_path / "table.csv")
    assert done.exit_code == 2
    assert "found a table. Give a recipe with data: {source: csv}" in done.stderr


def test_a_run_and_a_folder_are_split_as_asked(workshop: Workshop) -> None:
    for data in (workshop.dense, workshop.pictures):
        found = json.loads(dsft("data", "check", data, "data.test.fraction=0.25", "--json").stdout)
        assert found["splits"]["test"]["images"] == 12
