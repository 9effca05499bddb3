from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dsft.data import find_files
from dsft.errors import DataError


@pytest.fixture
def album(here: Path) -> Path:
    for name in ("a/1.png", "a/b/2.JPG", "a/note.txt", "a/.hidden.png", "odd[1].png", "raw.data"):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path, format="png")
    return here


def keys(*paths: str) -> list[str]:
    return [Path(key).as_posix() for key in find_files(paths).keys]


@pytest.mark.usefixtures("album")
def test_folders_files_and_patterns_are_found_each_once_and_in_order() -> None:
    assert keys("a") == ["a/1.png", "a/b/2.JPG"]
    assert keys("raw.data", "a") == ["raw.data", "a/1.png", "a/b/2.JPG"]
    assert keys("a/*.png", "a", "a/1.png") == ["a/1.png", "a/b/2.JPG"]
    assert keys("**/*.JPG") == ["a/b/2.JPG"]
    assert keys("a/*/") == ["a/b/2.JPG"]


def test_a_pattern_may_be_absolute(album: Path) -> None:
    assert find_files([f"{album}/a/?.png"]).keys == (str(album / "a" / "1.png"),)


@pytest.mark.usefixtures("album")
def test_a_file_whose_name_looks_like_a_pattern_is_itself() -> None:
    assert keys("odd[1].png") == ["odd[1].png"]


def test_a_name_may_begin_with_a_tilde(here: Path) -> None:
    Image.new("RGB", (8, 8)).save(here / "~nobody.png")
    assert keys("~nobody.png", "*.png") == ["~nobody.png"]
    with pytest.raises(DataError, match=r"'~nosuchuser/x\.png': must be an image"):
        find_files(["~nosuchuser/x.png"])


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothere.png", r"'nothere.png': must be an image, a folder or a pattern"),
        ("*.gif", r"pattern '\*.gif': matches no image"),
        ("empty", "folder 'empty': contains no images"),
    ],
)
def test_paths_without_images_are_errors(path: str, message: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_files([path])


@pytest.mark.usefixtures("album")
def test_images_are_read_and_have_an_identity() -> None:
    images = find_files(["a"])
    assert images.read(0).size == (8, 8)
    assert images.identity(0) == str(Path("a/1.png").stat().st_size)
    assert list(images.targets) == [0, 0]
