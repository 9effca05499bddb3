from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsft.choices import SplitName
from dsft.data.sources import open_hf
from dsft.errors import DataError
from dsft.progress import Event, Warn
from tests.data.pictures import write_images

datasets: Any = pytest.importorskip("datasets")
TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def rows(count: int, label: Any, **columns: Any) -> Any:
    images = [Image.new("RGB", (6, 4), (10 * number, 0, 0)) for number in range(count)]
    table = {"picture": images, "label": [number % 2 for number in range(count)], **columns}
    features = {"picture": datasets.Image(), "label": label}
    return datasets.Dataset.from_dict(table, features=datasets.Features(features))


def test_a_saved_data_set_is_read_split_by_split(tmp_path: Path) -> None:
    named = datasets.ClassLabel(names=["dog", "cat"])
    parts = {"train": rows(5, named), "validation": rows(2, named), "unsupervised": rows(1, named)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    events: list[Event] = []
    sources = open_hf(None, tmp_path / "saved", download=False, report=events.append)
    assert {name: source.targets for name, source in sources.items()} == {TRAIN: (0, 1, 0, 1, 0), VAL: (0, 1)}
    assert any(isinstance(event, Warn) and "'unsupervised'" in event.message for event in events)
    source = sources[TRAIN]
    assert source.classes == ("dog", "cat")
    assert source.keys[3] == "train/3"
    again = datasets.load_from_disk(str(tmp_path / "saved"))["train"]
    for index in range(5):
        assert np.array_equal(np.asarray(source.read(index)), np.asarray(again[index]["picture"]))
    raw = again.cast_column("picture", datasets.Image(decode=False))
    assert [source.identity(index) for index in range(5)] == [str(len(row["picture"]["bytes"])) for row in raw]


def test_a_single_table_is_all_train_and_labels_may_be_plain(tmp_path: Path) -> None:
    rows(12, datasets.Value("int64")).save_to_disk(str(tmp_path / "saved"))
    [(name, source)] = open_hf(None, tmp_path / "saved", download=False).items()
    assert (name, source.classes) == (TRAIN, ("0", "1"))
    assert source.keys[3] == "train/03"


def test_images_may_stay_in_their_files(tmp_path: Path) -> None:
    files = write_images(tmp_path / "files", {"a": 2})
    table = {"image": [str(files.root / key) for key in files.keys], "label": ["x", "y"]}
    made = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    made.save_to_disk(str(tmp_path / "saved"))
    source = open_hf(None, tmp_path / "saved", download=False)[TRAIN]
    assert source.read(1).tobytes() == files.read(1).tobytes()
    assert int(source.identity(1)) > 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (datasets.Dataset.from_dict({"label": [0]}), r"found \[\] and \['label'\]"),
        (rows(2, datasets.ClassLabel(names=["a", "b"])).remove_columns("label"), r"found \['picture'\] and \[\]"),
        (
            datasets.DatasetDict({"test": rows(2, datasets.Value("int64"))}),
            r"must have a train split, found \['test'\]",
        ),
    ],
)
def test_a_data_set_without_a_column_or_train_is_refused(tmp_path: Path, table: Any, message: str) -> None:
    table.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=message):
        open_hf(None, tmp_path / "saved", download=False)


def test_rows_without_a_class_are_refused(tmp_path: Path) -> None:
    table = rows(2, datasets.ClassLabel(names=["a", "b"]))
    table = table.remove_columns("label").add_column("label", [-1, 0])
    table.cast_column("label", datasets.ClassLabel(names=["a", "b"])).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"1 of 2 rows of .* have no class"):
        open_hf(None, tmp_path / "saved", download=False)


def test_rows_with_several_classes_are_refused(tmp_path: Path) -> None:
    table = rows(2, datasets.Value("int64")).remove_columns("label").add_column("label", [[], [0, 1]])
    table.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"label must contain one class per image, found \[\]"):
        open_hf(None, tmp_path / "saved", download=False)


def test_a_row_without_an_image_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    table = {"image": [None, Image.new("L", (4, 4))], "label": ["x", "y"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(table, features=features).save_to_disk(str(tmp_path / "saved"))
    source = open_hf(None, tmp_path / "saved", download=False)[TRAIN]
    assert source.read(1).size == (4, 4)
    with pytest.raises(DataError, match=r"'train/0' of .*: the row has no image"):
        source.read(0)


def test_the_hub_is_not_queried_unless_requested(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a data set of the hub needs data\.download=true"):
        open_hf("user/birds", None, download=False)
    with pytest.raises(DataError, match=r"must be a folder written by save_to_disk"):
        open_hf(None, tmp_path / "nothere", download=False)


def test_a_missing_package_is_an_error_that_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'dsft\[hf\]'"):
        open_hf(None, tmp_path, download=False)


KINDS = (datasets.ClassLabel(names=["a", "b"]), datasets.Value("string"), datasets.Value("int64"))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_whose_class_is_null_are_refused(tmp_path: Path, kind: Any) -> None:
    values = ["a", None] if kind == datasets.Value("string") else [0, None]
    table = rows(2, datasets.Value("int64")).remove_columns("label")
    table.add_column("label", values, feature=kind).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"1 of 2 rows .* have no class"):
        open_hf(None, tmp_path / "saved", download=False)
