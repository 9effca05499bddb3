from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.data.clip import Clip, read_clip
from dsft.errors import DataError
from tests.data.videos import moving_bar, write_video


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = moving_bar(1, np.random.default_rng(0), frames=12)
    write_video(tmp_path / "video", frames)
    (tmp_path / "video" / "notes.txt").write_text("no frame")
    clip = read_clip(tmp_path / "video")
    assert len(clip) == 12
    np.testing.assert_array_equal(clip.read(range(12)), frames)
    np.testing.assert_array_equal(clip.read([11, 3, 3]), frames[[11, 3, 3]])


def test_only_the_frames_that_are_asked_for_are_decoded(tmp_path: Path) -> None:
    folder = write_video(tmp_path / "video", moving_bar(1, np.random.default_rng(0)))
    (folder / "frame_5.png").write_bytes(b"")
    clip = read_clip(folder)
    assert clip.read([0, 4, 8]).shape == (3, 20, 20, 3)
    with pytest.raises(DataError, match=r"frame_5\.png' cannot be read as an image"):
        clip.read([4, 5])


def test_a_grey_frame_among_coloured_ones_becomes_coloured(tmp_path: Path) -> None:
    folder = write_video(tmp_path / "video", moving_bar(1, np.random.default_rng(0)))
    Image.new("L", (20, 20), 90).save(folder / "frame_2.png")
    frames = read_clip(folder).read([1, 2])
    assert frames.shape == (2, 20, 20, 3)
    assert (frames[1] == 90).all()


def test_grey_arrays_get_a_channel() -> None:
    assert Clip("own", np.zeros((5, 8, 9), np.uint8)).read([0, 4]).shape == (2, 8, 9, 1)


def test_what_is_no_clip_is_an_error(tmp_path: Path) -> None:
    folder = write_video(tmp_path / "video", moving_bar(1, np.random.default_rng(0)))
    Image.new("RGB", (20, 10)).save(folder / "frame_3.png")
    with pytest.raises(DataError, match="must have one size, found 20 x 20 and 20 x 10 pixels"):
        read_clip(folder).read(range(9))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no image files"):
        read_clip(tmp_path / "empty")
    with pytest.raises(DataError, match="must be a folder of frames"):
        read_clip(tmp_path / "missing")
