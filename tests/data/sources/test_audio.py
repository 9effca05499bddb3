from __future__ import annotations

from pathlib import Path

import pytest

from dsft.choices import InputKind, SplitName
from dsft.data.sources import Groups, input_kind_of
from dsft.data.sources.audio import open_audio
from dsft.errors import DataError
from tests.data.sounds import tone, write_tones, write_wav

TRAIN, VAL, TEST = SplitName
CLASSES = {"high": 900.0, "low": 300.0}


def test_a_folder_per_class_is_listed(tmp_path: Path) -> None:
    write_tones(tmp_path, CLASSES, 3)
    (tmp_path / "high" / "notes.txt").write_text("no sound")
    (source,) = open_audio(tmp_path).values()
    assert (source.classes, source.targets) == (("high", "low"), (0, 0, 0, 1, 1, 1))
    assert source.keys[:2] == ("high/a_0.wav", "high/a_2.wav")
    assert input_kind_of(source) is InputKind.SIGNAL
    assert source.read(0).rate == 8000


def test_a_table_lists_files_with_their_splits(tmp_path: Path) -> None:
    for name in "abc":
        write_wav(tmp_path / "sounds" / f"{name}.wav", tone(300))
    rows = ["path,label,split", "sounds/a.wav,x,train", "sounds/b.wav,y,train", "sounds/c.wav,x,test"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    sources = open_audio(tmp_path / "list.csv")
    assert {split: list(source.keys) for split, source in sources.items()} == {
        TRAIN: ["sounds/a.wav", "sounds/b.wav"],
        TEST: ["sounds/c.wav"],
    }
    assert sources[TEST].read(0).values.shape == (1, 4000)


def test_a_folder_without_sounds_says_what_sounds_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"class folders without signals: 'a'.*\.flac.*\.wav"):
        open_audio(tmp_path)


class TestGroups:
    groups = Groups(r"^([a-z])_", ["b"])

    def test_of_undivided_files_are_test(self, tmp_path: Path) -> None:
        sources = open_audio(write_tones(tmp_path, CLASSES, 4), self.groups)
        assert list(sources) == [TRAIN, TEST]
        assert list(sources[TRAIN].keys) == ["high/a_0.wav", "high/a_2.wav", "low/a_0.wav", "low/a_2.wav"]
        assert list(sources[TEST].keys) == ["high/b_1.wav", "high/b_3.wav", "low/b_1.wav", "low/b_3.wav"]
        assert list(sources[TEST].targets) == [0, 0, 1, 1]

    def test_of_all_splits_are_test(self, tmp_path: Path) -> None:
        for split in SplitName:
            write_tones(tmp_path / split, CLASSES, 2)
        sources = open_audio(tmp_path, self.groups)
        assert list(sources[TRAIN].keys) == list(sources[VAL].keys) == ["high/a_0.wav", "low/a_0.wav"]
        assert list(sources[TEST].keys) == [
            f"{split}/{name}/b_1.wav" for split in ("test", "train", "val") for name in CLASSES
        ]
        assert sources[TEST].read(5).rate == 8000

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            (Groups(r"^([a-z])_", ["z"]), r"no files of 'z'. The groups are \['a', 'b'\]"),
            (Groups(r"^(\d)", ["1"]), r"must match the name of every file, found 'a_0.wav'"),
        ],
    )
    def test_must_be_in_the_names(self, tmp_path: Path, groups: Groups, message: str) -> None:
        write_tones(tmp_path, CLASSES, 2)
        with pytest.raises(DataError, match=message):
            open_audio(tmp_path, groups)
