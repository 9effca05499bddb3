from __future__ import annotations

from pathlib import Path

import pytest

from dsft.choices import SplitName
from dsft.data.sources import ImageFiles, open_csv
from dsft.errors import DataError
from dsft.progress import Event, Warn
from tests.data.pictures import write_images

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "images.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_a_row_is_an_image(tmp_path: Path) -> None:
    write_images(tmp_path / "files", {"a": 2, "b": 1})
    rows = ["files/b/000.png,dog,ignored", "files/a/001.png,cat,", 'files\\a\\000.png,"dog, big",']
    file = table(tmp_path, "path,label,note\r\n" + "\r\n".join(rows), "utf-8-sig")
    sources = open_csv(file)
    assert list(sources) == [TRAIN]
    source = sources[TRAIN]
    assert isinstance(source, ImageFiles)
    assert source.classes == ("cat", "dog", "dog, big")
    assert source.keys == ("files/a/000.png", "files/a/001.png", "files/b/000.png")
    assert source.targets == (2, 0, 1)
    assert source.read(0).size == (8, 8)
    # Messages name the table and not its folder, in which there may be others.
    assert source.origin == str(file)


def test_a_column_divides_the_images(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 4})
    rows = ["a/000.png,9,train", "a/001.png,10,Validation", "a/002.png,10,train", "a/003.png,9,test"]
    sources = open_csv(table(tmp_path, "label,split,path\n" + "\n".join(f"{r[10:]},{r[:9]}" for r in rows)))
    assert {name: source.keys for name, source in sources.items()} == {
        TRAIN: ("a/000.png", "a/002.png"),
        VAL: ("a/001.png",),
        TEST: ("a/003.png",),
    }
    assert sources[TRAIN].classes == ("9", "10")
    assert sources[VAL].classes == ("10",)


def test_an_absolute_path_is_unchanged(tmp_path: Path) -> None:
    source = write_images(tmp_path / "elsewhere", {"a": 1})
    path = (source.root / source.keys[0]).as_posix()
    (tmp_path / "own").mkdir()
    assert open_csv(table(tmp_path / "own", f"path,label\n{path},x\n"))[TRAIN].read(0).size == (8, 8)


def test_blanks_around_a_label_and_empty_values_at_the_end_are_nothing(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 2})
    source = open_csv(table(tmp_path, "path,label\na/000.png, cat,\na/001.png,cat ,,\n"))[TRAIN]
    assert source.classes == ("cat",)


def test_beside_the_column_of_splits_another_may_have_its_name_in_capitals(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 2})
    rows = "a/000.png,x,train,A\na/001.png,x,test,B\n"
    assert list(open_csv(table(tmp_path, f"path,label,split,Split\n{rows}"))) == [TRAIN, TEST]


def test_missing_files_are_reported(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 1})
    events: list[Event] = []
    open_csv(table(tmp_path, "path,label\na/000.png,x\nnothere.png,y\n"), events.append)
    [event] = events
    assert isinstance(event, Warn)
    assert "1 of the 2 files" in event.message
    assert "'nothere.png'" in event.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "path is missing, found \\[\\]"),
        ("paths,label\n", r"path is missing, found \['paths', 'label'\]\. Did you mean paths\?"),
        ("path;label\n", "separated by commas"),
        ("path,label\na.png,\n", r"images\.csv:2: the column label is empty"),
        ("path,label\na.png\n", r"images\.csv:2: the column label is empty"),
        ("path,label,split\na.png,x,dev\n", r"images\.csv:2: split must be train, val or test, found 'dev'"),
        ("path,label,split\na.png,x\n", r"images\.csv:2: split must be train, val or test, found None"),
        ("path,label\na.png,x\nb.png,y\na.png,y\n", r"images\.csv:4: .* found 'a\.png' in line 2 too"),
        ("path,label,split\na.png,x,val\n", r"must list images of the split train, found \['val'\]"),
        ("path,label\n", "must list images of the split train, found no rows"),
        ("path,label\na.png,x,y\n", r"images\.csv:2: has more values than .* found \['y'\] at the end"),
        ("path,label\na.png, \n", r"images\.csv:2: the column label is empty"),
        ("path,label,Split\na.png,x,test\n", "the column of the splits must be named split, found 'Split'"),
        ("path,label,split,label\na.png,x,train,y\n", "must name a column once, found label twice"),
    ],
)
def test_an_invalid_table_is_an_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_csv(table(tmp_path, text))


def test_files_that_are_not_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.root '.*nothere\.csv': must be a CSV file, found nothing; the working"):
        open_csv(tmp_path / "nothere.csv")
    with pytest.raises(DataError, match="must be a CSV file, found a folder"):
        open_csv(tmp_path)
    with pytest.raises(DataError, match="cannot be read as a CSV file"):
        open_csv(table(tmp_path, "path,label\n\u00e9.png,x\n", "latin-1"))


def test_a_row_may_have_several_labels_or_none(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 4})
    rows = ["a/001.png,dog; cat", "a/000.png,", "a/003.png,cat", "a/002.png,cat;10;dog"]
    source = open_csv(table(tmp_path, "path,label\n" + "\n".join(rows)), separator=";")[TRAIN]
    assert source.classes == ("10", "cat", "dog")
    assert list(zip(source.keys, source.targets, strict=True)) == [
        ("a/000.png", ()),
        ("a/001.png", (1, 2)),
        ("a/002.png", (0, 1, 2)),
        ("a/003.png", (1,)),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a/001.png,x;;y,train", r":3: there must be a label between two separators ';', found 'x;;y'"),
        ("a/001.png,x;y;x,train", r":3: an image must not have a label twice, found x in 'x;y;x'"),
        ("a/001.png,xx;y,val", r":3: the label 'xx' of an image of val .* Did you mean x\?"),
        ("a/001.png", r":3: the column label is empty"),
        (",x,train", r":3: the column path is empty"),
    ],
)
def test_labels_that_cannot_be_are_errors_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    write_images(tmp_path, {"a": 2})
    with pytest.raises(DataError, match=rf"images\.csv{message}"):
        open_csv(table(tmp_path, f"path,label,split\na/000.png,x;y,train\n{row}\n"), separator=";")
