from __future__ import annotations

from pathlib import Path

import pytest

from dsft.choices import DataSource, SplitName
from dsft.data.sources import SOURCES, DataLocation, open_source
from dsft.errors import DataError
from tests.data.pictures import write_images


def test_every_source_can_be_opened() -> None:
    assert list(SOURCES) == list(DataSource)


def test_a_location_is_opened_by_its_source(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"a": 2, "b": 1})
    (opened,) = open_source(DataLocation(DataSource.FOLDER, tmp_path / "images")).values()
    assert opened.keys == ("a/000.png", "a/001.png", "b/000.png")
    (tmp_path / "table.csv").write_text("path,label\nimages/a/000.png,x;y\nimages/b/000.png,y\n", encoding="utf-8")
    location = DataLocation(DataSource.CSV, tmp_path / "table.csv", label_separator=";")
    assert open_source(location)[SplitName.TRAIN].targets == ((0, 1), (1,))
    assert open_source(DataLocation(DataSource.DIGITS))[SplitName.TRAIN].origin == "digits"


def test_a_name_is_known_before_anything_is_opened() -> None:
    require_name = SOURCES[DataSource.TORCHVISION].require_name
    assert require_name is not None
    require_name("cifar10")
    with pytest.raises(DataError, match=r"unknown torchvision data set 'CIFRA10'\. Did you mean CIFAR10"):
        require_name("CIFRA10")
