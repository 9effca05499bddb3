from __future__ import annotations

from pathlib import Path

import pytest

from dsft.choices import InputKind, SplitName
from dsft.data.sources import find_examples, open_text
from dsft.errors import DataError
from tests.data.texts import write_texts

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def test_a_column_divides_the_texts(tmp_path: Path) -> None:
    rows = [("one,\ntwo", "b", "train"), ("three", "a", "test"), ("one,\ntwo", "a", "train"), ("", "a", "train")]
    sources = open_text(write_texts(tmp_path / "all.csv", rows, ("text", "label", "split")))
    train = sources[TRAIN]
    assert list(sources) == [TRAIN, TEST]
    assert (train.classes, list(train.targets), train.keys) == (("a", "b"), [1, 0, 0], ["3", "6", "7"])
    assert train.read(0) == "one,\ntwo"
    assert train.identity(0) == train.identity(1) != train.identity(2)
    with pytest.raises(DataError, match=r"all\.csv:7: a text must have characters"):
        train.read(2)


def test_files_divide_the_texts(tmp_path: Path) -> None:
    write_texts(tmp_path / "train.csv", [("a b", "x"), ("c", "y")])
    write_texts(tmp_path / "validation.csv", [("d", "x")])
    sources = open_text(tmp_path)
    assert {split: source.texts for split, source in sources.items()} == {TRAIN: ("a b", "c"), VAL: ("d",)}


def test_a_text_may_have_several_labels(tmp_path: Path) -> None:
    source = open_text(write_texts(tmp_path / "all.csv", [("a", "x; y"), ("b", "")]), separator=";")[TRAIN]
    assert (source.classes, list(source.targets)) == (("x", "y"), [(0, 1), ()])


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (("texts", "label"), [], r"text is missing, found \['texts', 'label'\]\. Did you mean texts\?"),
        (("text", "class"), [("a", "b")], "label is missing"),
        (("text", "label"), [("a", "")], r"all\.csv:2: the column label is empty"),
        (("text", "label", "split"), [("a", "b", "dev")], r"all\.csv:2: split must be train, val or test"),
        (("text", "label", "split"), [("a", "b", "test")], "must list texts of the split train"),
    ],
)
def test_an_invalid_table_is_an_error(
    tmp_path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_text(write_texts(tmp_path / "all.csv", rows, columns))


def test_files_that_are_no_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"or a folder with train\.csv"):
        open_text(tmp_path)
    write_texts(tmp_path / "train.csv", [("a", "b", "val")], ("text", "label", "split"))
    with pytest.raises(DataError, match="the file is the split train, found a text of val"):
        open_text(tmp_path)


def test_texts_without_labels_are_found_in_tables_and_files(tmp_path: Path) -> None:
    table = write_texts(tmp_path / "new.csv", [("a b",), ("",)], ("text",))
    (tmp_path / "one.txt").write_text("c", encoding="utf-8")
    found = find_examples([str(table), str(tmp_path)], InputKind.TEXT)
    assert [Path(key).name for key in found.keys] == ["new.csv:2", "new.csv:3", "one.txt"]
    assert (found.read(0), found.read(2)) == ("a b", "c")
    with pytest.raises(DataError, match=r"new\.csv:3: a text must have"):
        found.read(1)
    with pytest.raises(DataError, match="text is missing"):
        find_examples([str(write_texts(tmp_path / "no.csv", [], ("label",)))], InputKind.TEXT)
