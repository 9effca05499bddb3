from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dsft.choices import InputKind, SplitName
from dsft.data.clip import read_clip
from dsft.data.sources import find_files
from dsft.data.sources.frames import open_video
from dsft.data.video import VideoFrames, _Index
from dsft.errors import DataError
from tests.data.videos import write_film

av = pytest.importorskip("av")

# Each frame is a bright column on a dark one, which a codec with losses keeps apart.
FRAMES: NDArray[np.uint8] = np.full((30, 32, 64, 3), 20, np.uint8)
for _number, _frame in enumerate(FRAMES):
    _frame[:, 2 * _number : 2 * _number + 4] = 220


def places(frames: NDArray[np.uint8]) -> list[int]:
    """Return the number of each frame, by the place of its bright column."""
    return [int((frame.mean((0, 2)) > 120).argmax() / 2 + 0.5) for frame in frames.astype(float)]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "mpeg4", {"g": "5"}),
        ("a.mp4", "mpeg4", {"g": "12", "bf": "2"}),  # frames that are stored before others that are shown earlier
        ("a.mkv", "mpeg4", {"g": "300"}),
        ("a.avi", "mpeg4", {"g": "5"}),
        ("a.avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("a.mov", "mjpeg", {}),
    ],
)
def test_frames_are_read_by_position(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    clip = read_clip(write_film(tmp_path / name, FRAMES, codec, options))
    assert len(clip) == 30
    assert places(clip.read(range(30))) == list(range(30))
    assert places(clip.read([17, 3, 3, 29])) == [17, 3, 3, 29]
    assert clip.read([0]).shape == (1, 32, 64, 3)


def test_decoding_starts_at_the_last_key_frame(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", FRAMES, "mpeg4", {"g": "5"})
    whole = path.read_bytes()
    # What lies before the key frame that precedes the frame is overwritten, and not missed.
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        first = next(packet for packet in packets if packet.is_keyframe and packet.pts > packets[15].pts)
        begin, end = packets[0].pos, first.pos
    path.write_bytes(whole[:begin] + bytes(end - begin) + whole[end:])
    assert places(read_clip(path).read([22, 24])) == [22, 24]


def test_a_file_without_times_is_decoded_from_its_beginning(tmp_path: Path) -> None:
    frames = VideoFrames(write_film(tmp_path / "a.avi", FRAMES, "mjpeg", {}))
    frames.__dict__["_index"] = _Index([None] * 30, ())
    assert places(np.stack(list(frames.read([4, 11]).values()))) == [4, 11]


def test_a_class_is_a_folder_of_files(tmp_path: Path) -> None:
    for number, split in enumerate(SplitName):
        for name in ("left", "right"):
            write_film(tmp_path / "splits" / split / name / f"{number}.mp4", FRAMES[:4], "mpeg4", {})
    sources = open_video(tmp_path / "splits")
    assert {split: source.keys for split, source in sources.items()} == {
        split: (f"left/{number}.mp4", f"right/{number}.mp4") for number, split in enumerate(SplitName)
    }
    assert len(sources[SplitName.TRAIN].read(1)) == 4
    assert len(find_files([str(tmp_path)], InputKind.CLIP).keys) == 6


def test_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "a.mp4", FRAMES, "mpeg4", {"g": "5"})
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "c.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for name in ("b.mp4", "c.mp4", "missing.mp4"):
        with pytest.raises(DataError, match=f"{name}' cannot be read as a video"):
            read_clip(tmp_path / name).read([0, 25])


def test_without_pyav_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'dsft\[video\]', or use folders of frames"):
        open_video(tmp_path)
