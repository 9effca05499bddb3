from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.choices import SplitName, TargetKind
from dsft.data.sources.pairs import PairFiles, open_pairs
from dsft.errors import DataError

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def write(path: Path, value: int, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6), value).convert(mode).save(path)


def only(root: Path, *, is_clean: bool) -> PairFiles:
    (source,) = open_pairs(root, is_clean=is_clean).values()
    assert isinstance(source, PairFiles)
    return source


def test_an_input_has_the_target_of_its_name(tmp_path: Path) -> None:
    for name, value in (("b", 30), ("sub/a", 50)):
        write(tmp_path / "input" / f"{name}.png", value)
        write(tmp_path / "target" / f"{name}.tif", value + 1)
    source = only(tmp_path, is_clean=False)
    assert (list(source.keys), source.target_kind) == (["b.png", "sub/a.png"], TargetKind.IMAGE)
    for index, value in enumerate((30, 50)):
        target = source.read_target(index)
        assert target is not None
        assert (np.asarray(source.read(index)).max(), np.asarray(target).max()) == (value, value + 1)


def test_clean_images_are_their_own_target_at_any_depth(tmp_path: Path) -> None:
    for name in ("train/a.png", "train/deep/b.png", "test/c.png"):
        write(tmp_path / name, 7)
    found = open_pairs(tmp_path, is_clean=True)
    assert {split: list(source.keys) for split, source in found.items()} == {
        TRAIN: ["a.png", "deep/b.png"],
        TEST: ["c.png"],
    }
    train = found[TRAIN]
    assert isinstance(train, PairFiles)
    assert train.read_target(0) is None


@pytest.mark.parametrize(("modes", "classes"), [(["L", "L"], ("grey",)), (["L", "RGB"], ("red", "green", "blue"))])
def test_one_image_with_colours_makes_all_colour_images(
    modes: list[str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    for number, mode in enumerate(modes):
        write(tmp_path / f"{number}.png", 7, mode)
    assert only(tmp_path, is_clean=True).classes == classes


@pytest.mark.parametrize(
    ("files", "is_clean", "message"),
    [
        (["input/a.png", "input/b.png", "target/a.png"], False, "found none for 1 files, such as 'b'"),
        (["input/a.png", "target/a.png", "target/c.png"], False, "found none for 1 files, such as 'c'"),
        (["a.png"], False, "must contain the folders 'input' and 'target'"),
        (["a.txt"], True, "contains no images"),
    ],
)
def test_what_is_missing_is_named(files: list[str], is_clean: bool, message: str, tmp_path: Path) -> None:
    for name in files:
        if name.endswith(".txt"):
            (tmp_path / name).touch()
        else:
            write(tmp_path / name, 7)
    with pytest.raises(DataError, match=message):
        open_pairs(tmp_path, is_clean=is_clean)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    for is_clean in (False, True):
        with pytest.raises(DataError, match=r"data\.root .*must be a folder"):
            open_pairs(tmp_path / "nothere", is_clean=is_clean)
