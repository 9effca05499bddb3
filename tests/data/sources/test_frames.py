from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsft.choices import InputKind, SplitName
from dsft.data.sources import find_files
from dsft.data.sources.frames import open_frames
from dsft.errors import DataError
from tests.data.videos import moving_bar, write_video, write_videos


def test_a_class_is_a_folder_of_videos(tmp_path: Path) -> None:
    write_videos(tmp_path, 2)
    write_video(tmp_path / "left" / "deeper" / "video", moving_bar(-1, np.random.default_rng(0)))
    (source,) = open_frames(tmp_path).values()
    assert source.classes == ("left", "right")
    assert source.keys == ("left/deeper/video", "left/video00", "left/video01", "right/video00", "right/video01")
    assert source.targets == (0, 0, 0, 1, 1)
    assert len(source.read(0)) == 9
    assert source.identity(1) != source.identity(0)


def test_splits_have_folders_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_videos(tmp_path / split, 1)
    assert list(open_frames(tmp_path)) == list(SplitName)


def test_frames_without_a_folder_of_their_own_are_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "left", moving_bar(-1, np.random.default_rng(0)))
    with pytest.raises(DataError, match="has class folders without clips: 'left'"):
        open_frames(tmp_path)


def test_paths_of_videos_are_folders(tmp_path: Path) -> None:
    write_videos(tmp_path, 2)
    one = (tmp_path / "left" / "video01").as_posix()
    assert [Path(key).as_posix() for key in find_files([one], InputKind.CLIP).keys] == [one]
    assert len(find_files([str(tmp_path)], InputKind.CLIP).keys) == 4
    assert len(find_files([f"{tmp_path}/*/video00"], InputKind.CLIP).keys) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no clips"):
        find_files([str(tmp_path / "empty")], InputKind.CLIP)
