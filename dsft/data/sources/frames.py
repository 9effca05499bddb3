"""Videos in one folder per class: as folders of frames, or as video files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dsft.choices import InputKind, SplitName
from dsft.data.clip import Clip
from dsft.data.sources.folder import open_files
from dsft.data.sources.images import ArraySource, ExampleFiles
from dsft.data.video import import_av
from dsft.progress import Report, ignore


@dataclass(frozen=True)
class ClipFolders(ExampleFiles):
    """Folders of frames below a folder; a key is the path of one relative to it."""

    input_kind: ClassVar[InputKind] = InputKind.CLIP
    are_folders: ClassVar[bool] = True

    def identity(self, index: int) -> str:
        """Return the number of files and their size in bytes."""
        try:
            with os.scandir(self.root / self.keys[index]) as entries:
                sizes = [entry.stat().st_size for entry in entries]
        except OSError:  # the loader handles unreadable clips
            return "missing"
        return f"{len(sizes)} files of {sum(sizes)}"


@dataclass(frozen=True)
class VideoFiles(ExampleFiles):
    """Video files below a folder."""

    input_kind: ClassVar[InputKind] = InputKind.CLIP


@dataclass(frozen=True, eq=False)
class ClipArray(ArraySource):
    """Clips ``(count, frames, height, width)`` in one array of 8-bit integers."""

    input_kind: ClassVar[InputKind] = InputKind.CLIP

    def read(self, index: int) -> Clip:
        """Return one clip."""
        frames: NDArray[np.uint8] = self.values[index]
        return Clip(self.keys[index], frames)


def open_frames(root: Path, report: Report = ignore) -> Mapping[SplitName, ClipFolders]:
    """Return the splits of a folder of clips, see :func:`dsft.data.sources.folder.open_files`.

    Below the folder of its class, each folder that contains image files is a clip.

    Args:
        root: The folder.
        report: Receives what is found.

    Raises:
        DataError: The folder is missing or incomplete.
    """
    return open_files(root, ClipFolders, report)


def open_video(root: Path, report: Report = ignore) -> Mapping[SplitName, VideoFiles]:
    """Return the splits of a folder of video files, see :func:`dsft.data.sources.folder.open_files`.

    Args:
        root: The folder.
        report: Receives what is found.

    Raises:
        DataError: The folder is missing or incomplete, or PyAV is not installed.
    """
    import_av()
    return open_files(root, VideoFiles, report)
