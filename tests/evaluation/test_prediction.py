from __future__ import annotations

from pathlib import Path

import pytest

from dsft.evaluation import picture_files, signal_mask_name


@pytest.mark.parametrize(
    "paths",
    [
        ["x/a.jpg", "y/a.jpg", "z/a-2.jpg", "w/a.png"],
        ["z/a-2.jpg", "x/a.jpg", "y/a.jpg"],
        ["x/a.jpg", "x/a.png", "y/A.png"],
    ],
)
def test_each_prediction_has_a_file_of_its_own(paths: list[str]) -> None:
    files = picture_files(paths, Path("out"))
    assert list(files) == paths
    # Also where the file system does not distinguish upper and lower case.
    assert len({str(file).casefold() for file in files.values()}) == len(paths)
    assert all(file.parent == Path("out") and file.suffix == ".png" for file in files.values())


def test_files_are_named_after_the_examples() -> None:
    found = picture_files(["x/a.wav", "y/b.tar.npy", "y/a.wav"], Path("out"), signal_mask_name)
    assert [file.name for file in found.values()] == ["a.npy", "b.tar.npy", "a-2.npy"]
    found = picture_files(["x/a.nii.gz", "y/a.NII", "y/b.1.nii"], Path("out"), signal_mask_name)
    assert [file.name for file in found.values()] == ["a.nii.gz", "a-2.nii", "b.1.nii"]
