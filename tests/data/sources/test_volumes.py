from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dsft.choices import DataSource, SplitName
from dsft.data.checking import check_examples
from dsft.data.sources import DataLocation, Groups, open_source
from dsft.data.sources.volumes import MaskedVolumes, has_masks, open_volumes
from dsft.data.splits import Split
from dsft.errors import DataError
from tests.data.volumes import CLASSES, ellipsoid, save_nifti, write_masked_scans

TRAIN = SplitName.TRAIN
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def write_arrays(folder: Path, name: str, mask: NDArray[np.generic], size: tuple[int, int, int] = (4, 5, 6)) -> None:
    for inside, values in (("images", ellipsoid(0, size)[0][None]), ("masks", mask)):
        (folder / inside).mkdir(parents=True, exist_ok=True)
        np.save(folder / inside / f"{name}.npy", values)


def opened(root: Path, ignore_index: int = 255) -> MaskedVolumes:
    source = open_volumes(root, CLASSES, ignore_index)[TRAIN]
    assert isinstance(source, MaskedVolumes)
    return source


def test_volumes_and_masks_are_turned_alike(tmp_path: Path) -> None:
    write_masked_scans(tmp_path, 3)
    source = opened(tmp_path)
    assert list(source.keys) == ["scan00.nii.gz", "scan01.nii.gz", "scan02.nii.gz"]
    for index in range(3):
        thickness = 1 + index % 2
        values, mask = ellipsoid(index, (12 // thickness, 10, 11))
        signal = source.read(index)
        assert signal.spacing == (thickness, 1.0, 1.0)
        np.testing.assert_array_equal(signal.values[0], values)
        found = source.read_target(index)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("kind", ["uint8", "bool", "int64", "float32"])
def test_arrays_have_masks_with_or_without_an_axis_for_a_channel(kind: str, tmp_path: Path) -> None:
    mask = ellipsoid(0, (4, 5, 6))[1]
    write_arrays(tmp_path, "a", mask.astype(kind))
    write_arrays(tmp_path, "b", mask[None].astype(kind))
    source = opened(tmp_path)
    for index in range(2):
        np.testing.assert_array_equal(source.read_target(index), mask)


def test_the_index_of_no_class_and_splits_of_folders(tmp_path: Path) -> None:
    mask = np.array([[[0, 1, 9]]], np.int16)
    for split in ("train", "validation"):
        write_arrays(tmp_path / split, "a", mask, (1, 1, 3))
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    location = DataLocation(DataSource.VOLUMES, tmp_path, ignore_index=9)
    found = open_source(location)
    assert list(found) == [TRAIN, SplitName.VAL]
    source = found[TRAIN]
    assert isinstance(source, MaskedVolumes)
    assert (source.classes, source.read_target(0).tolist()) == (("no", "yes"), [[[0, 1, 255]]])


def _save_pair(root: Path, mask: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> None:
    save_nifti(root / "images/a.nii.gz", np.zeros((4, 5, 6), np.float32), AFFINE)
    save_nifti(root / "masks/a.nii.gz", mask, affine)


def _moved(root: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 7.5
    _save_pair(root, np.zeros((4, 5, 6), np.uint8), moved)


def _turned(root: Path) -> None:
    angle = np.deg2rad(3)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    _save_pair(root, np.zeros((4, 5, 6), np.uint8), turn @ AFFINE)


def _mixed(root: Path) -> None:
    _save_pair(root, np.zeros((4, 5, 6), np.uint8))
    (root / "masks/a.nii.gz").unlink()
    np.save(root / "masks/a.npy", np.zeros((6, 5, 4), np.uint8))


def _damaged(root: Path) -> None:
    _save_pair(root, np.zeros((4, 5, 6), np.uint8))
    (root / "masks/a.nii.gz").write_bytes(b"\x1f\x8b")


MISTAKES: dict[str, tuple[Callable[[Path], None], str]] = {
    "shape": (
        lambda root: _save_pair(root, np.zeros((4, 5, 7), np.uint8)),
        r"must have the shape of its volume, \(4, 5, 6\), found \(4, 5, 7\)",
    ),
    "affine": (_moved, "must have the affine of its volume, found voxels that are up to 7.5 mm from"),
    "turned": (_turned, "must have the affine of its volume"),
    "several": (lambda root: _save_pair(root, np.zeros((4, 5, 6, 2), np.uint8)), "one class index .* found 2 values"),
    "fractional": (
        lambda root: _save_pair(root, np.full((4, 5, 6), 0.5, np.float32)),
        "found fractional values such as 0.5. Resample masks by nearest neighbour",
    ),
    "beyond": (
        lambda root: _save_pair(root, np.full((4, 5, 6), 2, np.uint8)),
        r"indices of the 2 classes, 0 to 1, or 255 for no class, found \[2\]",
    ),
    "negative": (lambda root: _save_pair(root, np.full((4, 5, 6), -1, np.int16)), r"found \[-1\]"),
    "format": (_mixed, "must be of the format of its volume 'a.nii.gz', NIfTI or NumPy"),
    "damaged": (_damaged, r"masks/a.nii.gz' cannot be read as a signal"),
    "array": (
        lambda root: write_arrays(root, "a", np.zeros((4, 6, 5), np.uint8)),
        r"must have the shape of its volume, \(4, 5, 6\), found \(4, 6, 5\)",
    ),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_each_mistake_in_a_mask_is_one_sentence_that_the_check_finds_too(mistake: str, tmp_path: Path) -> None:
    write, message = MISTAKES[mistake]
    write(tmp_path)
    source = opened(tmp_path)
    with pytest.raises(DataError, match=message):
        source.read_target(0)
    (corrupt,) = check_examples([Split(TRAIN, source, (0,), CLASSES)]).corrupt
    assert Path(corrupt.key).stem.startswith("a")


def test_an_affine_that_differs_by_rounding_is_the_same(tmp_path: Path) -> None:
    _save_pair(tmp_path, np.zeros((4, 5, 6), np.uint8), AFFINE + 1e-4)
    assert not opened(tmp_path).read_target(0).any()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    _save_pair(tmp_path, np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(DataError, match=r"data\.class_names: the names of the classes are needed"):
        open_volumes(tmp_path, None, 255)
    with pytest.raises(DataError, match=r"data\.groups: volumes with masks have no groups"):
        open_volumes(tmp_path, CLASSES, 255, Groups("(a)", ["a"]))
    (tmp_path / "masks/a.nii.gz").rename(tmp_path / "masks/b.nii.gz")
    with pytest.raises(DataError, match="found none for 1 files, such as 'a'"):
        opened(tmp_path)
    (tmp_path / "masks/b.nii.gz").unlink()
    (tmp_path / "masks").rmdir()
    with pytest.raises(DataError, match=r"must contain the folders 'images' and 'masks'"):
        opened(tmp_path)


def test_volumes_without_masks_have_a_class_each(tmp_path: Path) -> None:
    for name in ("sick", "sound"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros((1, 2, 2, 2), np.float32))
    assert not has_masks(tmp_path)
    assert not has_masks(tmp_path / "table.csv")
    source = open_volumes(tmp_path, None, 255)[TRAIN]
    assert (source.classes, list(source.targets)) == (("sick", "sound"), [0, 1])
