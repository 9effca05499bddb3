from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import pytest

from dsft.choices import SplitName
from dsft.data import open_folder
from dsft.data.sources import ImageFiles
from dsft.errors import DataError
from dsft.progress import Event, Note, Warn
from tests.data.pictures import write_images

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def touch(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def only(root: Path) -> ImageFiles:
    sources = open_folder(root)
    assert list(sources) == [TRAIN]
    source = sources[TRAIN]
    assert isinstance(source, ImageFiles)
    return source


def test_one_folder_a_class_is_listed_by_class_and_path(tmp_path: Path) -> None:
    touch(tmp_path, ["dog/2.png", "dog/10.PNG", "cat/sub/deep/x.JPeG", "cat/a.jpg", "cat/z.webp"])
    source = only(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.keys == ("cat/a.jpg", "cat/sub/deep/x.JPeG", "cat/z.webp", "dog/10.PNG", "dog/2.png")
    assert source.targets == (0, 0, 0, 1, 1)


def test_keys_are_the_same_on_windows_and_lead_to_the_files(tmp_path: Path) -> None:
    written = write_images(tmp_path, {"a b": 1, "ü": 2})
    source = only(tmp_path)
    assert source == written
    assert all("\\" not in key and not PureWindowsPath(key).is_absolute() for key in source.keys)
    assert source.read(2).size == (8, 8)


def test_hidden_files_and_other_files_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.png", "a/.2.png", "a/._1.png", "a/.cache/3.png", "a/notes.txt", "a/Thumbs.db", "a/png"])
    touch(tmp_path, ["b/1.png", "b/__MACOSX/1.png", ".git/x/1.png", "__MACOSX/a/1.png", ".DS_Store", "readme.md"])
    assert only(tmp_path).keys == ("a/1.png", "b/1.png")


def test_linked_folders_are_followed_and_loops_of_links_are_not(tmp_path: Path) -> None:
    touch(tmp_path, ["store/1.png", "root/b/1.png"])
    (tmp_path / "root" / "a").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "store" / "again").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "root" / "b" / "broken.png").symlink_to(tmp_path / "nowhere")
    # A broken link counts as an image: it is for the policy of unreadable images to deal with.
    assert only(tmp_path / "root").keys == ("a/1.png", "b/1.png", "b/broken.png")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "testing"), ("Train", "Validation", "Test")]
)
def test_split_folders_may_have_their_usual_names_and_are_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    for count, name in enumerate(names, 1):
        write_images(tmp_path / name, {"a": count, "b": count})
    events: list[Event] = []
    sources = open_folder(tmp_path, events.append)
    assert [(name, len(source.targets)) for name, source in sources.items()] == [(TRAIN, 2), (VAL, 4), (TEST, 6)]
    used = ", ".join(f"{str(tmp_path / name)!r} as {split}" for name, split in zip(names, SplitName, strict=True))
    assert events == [Note(f"data: {used}")]
    assert sources[VAL].keys[0] == "a/000.png"


def test_other_folders_and_images_without_a_class_are_ignored_with_a_warning(tmp_path: Path) -> None:
    touch(tmp_path, ["train/a/1.png", "train/b/1.png", "train/loose.png", "unlabelled/x/1.png"])
    events: list[Event] = []
    assert open_folder(tmp_path, events.append)[TRAIN].keys == ("a/1.png", "b/1.png")
    warnings = [event.message for event in events if isinstance(event, Warn)]
    assert len(warnings) == 2
    assert warnings[0].startswith("data: 'unlabelled' in")
    assert warnings[1].startswith("data: 1 image directly in")


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    touch(tmp_path, ["bus/1.png", "train/1.png", "test/1.png"])
    assert only(tmp_path).classes == ("bus", "test", "train")
    shutil.rmtree(tmp_path / "train")
    assert only(tmp_path).classes == ("bus", "test")


def test_empty_class_folders_are_an_error_that_names_them(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.png", "b/notes.txt", "c/.hidden.png"])
    with pytest.raises(DataError, match=r"class folders without images: 'b', 'c'\. Fill or remove them.*\.jpg"):
        open_folder(tmp_path)


@pytest.mark.parametrize("empty", ["train", "val"])
def test_an_empty_split_folder_is_an_error(tmp_path: Path, empty: str) -> None:
    for name in ("train", "val"):
        write_images(tmp_path / name, {"a": 1, "b": 1})
    shutil.rmtree(tmp_path / empty)
    (tmp_path / empty).mkdir()
    with pytest.raises(DataError, match=rf"{empty}' contains no class folder.* Fill or remove it\."):
        open_folder(tmp_path)


def test_a_folder_that_cannot_be_a_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root '.*absent': must be a folder of images, found nothing"):
        open_folder(tmp_path / "absent")
    touch(tmp_path, ["file", "flat/1.png", "flat/2.png"])
    with pytest.raises(DataError, match="found a file"):
        open_folder(tmp_path / "file")
    with pytest.raises(DataError, match=r"flat' contains no class folder.*CLASS/IMAGE"):
        open_folder(tmp_path / "flat")


def test_val_without_train_and_two_names_for_one_split_are_errors(tmp_path: Path) -> None:
    write_images(tmp_path / "val", {"a": 1, "b": 1})
    with pytest.raises(DataError, match="there must be a folder 'train' beside 'val'"):
        open_folder(tmp_path)
    for name in ("train", "validation"):
        write_images(tmp_path / name, {"a": 1, "b": 1})
    with pytest.raises(DataError, match="there must be one folder for val, found 'val' and 'validation'"):
        open_folder(tmp_path)


def test_a_file_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.png", "b/1.png"])
    try:
        (tmp_path / "a" / "\udcff.png").touch()
    except (OSError, UnicodeError):
        pytest.skip("this file system has only Unicode names")
    with pytest.raises(DataError, match=r"'a/\\udcff\.png' is not valid UTF-8"):
        open_folder(tmp_path)
