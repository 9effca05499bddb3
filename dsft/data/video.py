"""Video files: their frames by position, decoded by PyAV."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsft.errors import DataError

VIDEO_EXTENSIONS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


def import_av() -> Any:
    """Return PyAV.

    Raises:
        DataError: It is not installed, or lacks the libraries that it wraps.
    """
    try:
        import av
    except (ImportError, OSError) as error:
        raise DataError(
            f"data.source video: video files are read by the package av (PyAV), which cannot be imported ({error}). "
            "Install it with pip install 'dsft[video]', or use folders of frames (source frames)."
        ) from error
    return av


@dataclass(frozen=True)
class _Index:
    """The times of a stream, in its units.

    Attributes:
        times: When each frame is shown, in order; None if the file does not say so.
        starts: When each key frame is shown, and the time by which a container finds it.
    """

    times: Sequence[int | None]
    starts: Sequence[tuple[int, int]]

    def start_before(self, time: int | None) -> int | None:
        """Return where to decode from for a frame; None for the beginning of the file."""
        found = [stored for shown, stored in self.starts if time is not None and shown <= time]
        return found[-1] if found else None


class VideoFrames:
    """The frames of a video file, in the order in which they are shown.

    Where the file has the time of each frame, frames are decoded from the last key frame before the first of them;
    otherwise from the beginning.

    Args:
        path: The file; its first video stream is read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return len(self._index.times)

    def read(self, positions: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        """Return frames ``(height, width)`` or ``(height, width, 3)`` by their position.

        Raises:
            DataError: The file cannot be decoded.
        """
        wanted, index = set(positions), self._index
        start = index.start_before(index.times[min(wanted)])
        found = self._decode(wanted, start)
        if len(found) < len(wanted) and start is not None:
            found = self._decode(wanted, None)  # some containers find another frame than was asked for
        if missing := sorted(wanted - found.keys()):
            raise self._damaged(f"frame {missing[0]} of {len(self)} cannot be decoded")
        return found

    def _decode(self, wanted: Collection[int], start: int | None) -> dict[int, NDArray[np.uint8]]:
        places = {time: position for position, time in enumerate(self._index.times) if time is not None}
        found: dict[int, NDArray[np.uint8]] = {}
        with self._opened() as (container, stream):
            if start is not None:
                container.seek(start, stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                position = places.get(frame.pts, -1) if places else number
                if position in wanted:
                    found[position] = _pixels(frame)
                if len(found) == len(wanted) or position > max(wanted):
                    break
        return found

    @cached_property
    def _index(self) -> _Index:
        with self._opened() as (container, stream):
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            times = [packet.pts for packet in packets]
            starts = [(packet.pts, packet.dts) for packet in packets if packet.is_keyframe]
        if not times:
            raise self._damaged("it has no frames")
        if None in times or any(None in start for start in starts):
            return _Index([None] * len(times), ())
        return _Index(sorted(set(times)), sorted(starts))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        av = import_av()
        try:
            with av.open(str(self._path)) as container:
                if not container.streams.video:
                    raise self._damaged("it has no video stream")
                yield container, container.streams.video[0]
        except (OSError, ValueError, EOFError) as error:  # the errors of FFmpeg are also such of Python
            raise self._damaged(f"{type(error).__name__}: {error}") from error

    def _damaged(self, reason: str) -> DataError:
        return DataError(f"{str(self._path)!r} cannot be read as a video ({reason}). Repair or remove it.")


def _pixels(frame: Any) -> NDArray[np.uint8]:
    is_grey = frame.format.name.startswith("gray")
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="gray" if is_grey else "rgb24")
    return pixels
