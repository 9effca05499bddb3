from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsft.choices import SplitName, TargetKind
from dsft.data import make_splits
from dsft.data.sources.arrays import open_arrays
from dsft.errors import DataError

X = np.random.default_rng(0).normal(size=(4, 2, 50)).astype(np.float32)


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_signals_are_read_with_their_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x=X.astype(np.float64), y=np.array([10, 2, 2, 10]), rate=100)
    (source,) = open_arrays(path).values()
    assert (source.classes, source.targets) == (("2", "10"), (1, 0, 0, 1))
    signal = source.read(2)
    assert signal.rate == 100
    np.testing.assert_array_equal(signal.values, X[2])
    assert source.identity(0) != source.identity(1)


@pytest.mark.parametrize("labels", [np.array([1, 0, 0, 1]), np.array(["quake", "noise", "noise", "quake"])])
def test_classes_may_be_named(tmp_path: Path, labels: Any) -> None:
    (source,) = open_arrays(write(tmp_path / "a.npz", x=X, y=labels, classes=["noise", "quake"])).values()
    assert (source.classes, source.targets) == (("noise", "quake"), (1, 0, 0, 1))


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    for name in ("train", "valid", "test", "other"):
        write(tmp_path / f"{name}.npz", x=X, y=np.array([0, 1, 0, 1]))
    assert list(open_arrays(tmp_path)) == list(SplitName)


def test_arrays_may_have_more_axes(tmp_path: Path) -> None:
    (source,) = open_arrays(write(tmp_path / "a.npz", x=np.zeros((2, 1, 3, 4, 5)), y=np.array([0, 1]))).values()
    assert source.read(1).values.shape == (1, 3, 4, 5)


class TestMasks:
    masks = np.array([[0, 1], [255, 2], [1, 1], [0, 0]])

    def test_are_the_class_of_each_sample(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz", x=X[..., :2], y=self.masks, classes=["noise", "p", "s"])
        splits = make_splits({SplitName.TRAIN: open_arrays(path)[SplitName.TRAIN]}, val=0.25, test=0.25, seed=0)
        assert splits.train.target_kind is TargetKind.MASK
        assert splits.classes == ("noise", "p", "s")
        found = {split.keys[0]: split.read_target(0) for split in (splits.train, splits.val)}
        for key, mask in found.items():
            np.testing.assert_array_equal(mask, self.masks[int(key)])

    def test_change_the_identity(self, tmp_path: Path) -> None:
        other = np.where(self.masks == 255, 0, self.masks)
        sources = [
            open_arrays(write(tmp_path / f"{name}.npz", x=X[..., :2], y=mask))[SplitName.TRAIN]
            for name, mask in (("a", self.masks), ("b", other))
        ]
        assert [sources[0].identity(index) == sources[1].identity(index) for index in range(4)] == [
            True,
            False,
            True,
            True,
        ]

    @pytest.mark.parametrize(
        ("masks", "message"),
        [
            (np.zeros((4, 3), int), r"an integer for each sample, found the shape \(4, 3\)"),
            (np.full((4, 2), 7), "numbers from 0 to 1, or 255"),
            (np.full((4, 2), -1), "numbers from 0 to 1, or 255"),
        ],
    )
    def test_fit_signals_and_classes(self, tmp_path: Path, masks: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            open_arrays(write(tmp_path / "a.npz", x=X[..., :2], y=masks, classes=["a", "b"]))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "the array 'y' is missing"),
        ({"x": X, "y": np.array([0, 1])}, r"found the shapes \(4, 2, 50\) and \(2,\)"),
        ({"x": X[:, 0], "y": np.array([0, 1, 0, 1])}, r"shape \(n, channels, length\)"),
        ({"x": X, "y": np.array([0.5, 1, 0, 1])}, "one integer or text for each signal"),
        ({"x": X, "y": np.array([0, 1, 2, 1]), "classes": ["a", "b"]}, "numbers from 0 to 1"),
        ({"x": X, "y": np.array(["a", "b", "c", "c"]), "classes": ["a", "b"]}, "lacks the classes c"),
        ({"x": X.astype(complex), "y": np.array([0, 1, 0, 1])}, "real numbers"),
        ({"x": X, "y": np.array([{}, {}, 0, 1], object)}, "allow_pickle=False"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_arrays(write(tmp_path / "a.npz", **arrays))


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match="must be a NumPy file"):
        open_arrays(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a folder with train\.npz"):
        open_arrays(tmp_path)


def test_values_that_are_not_finite_are_found_when_they_are_read(tmp_path: Path) -> None:
    values = X.copy()
    values[1, 0, 7] = np.inf
    (source,) = open_arrays(write(tmp_path / "a.npz", x=values, y=np.array([0, 1, 0, 1]))).values()
    source.read(0)
    with pytest.raises(DataError, match=r"signal 1 of .* NaN or infinite"):
        source.read(1)
