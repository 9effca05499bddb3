from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dsft.data.nifti import Grid, mask_as_nifti
from dsft.data.signal_transforms import SignalTransform, resample_volume
from dsft.data.sound import Signal, read_signal
from dsft.errors import DataError
from dsft.preprocessing import SignalPreprocessing, read_preprocessing

nibabel = pytest.importorskip("nibabel")
VALUES = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)  # x, y, z


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_axes_are_those_of_the_patient_and_the_spacing_is_kept(tmp_path: Path, ending: str) -> None:
    upright = np.diag([0.5, 1.0, 2.0, 1.0])
    turned = np.diag([-0.5, 1.0, 2.0, 1.0])  # x grows to the left
    nibabel.save(nibabel.Nifti1Image(VALUES, upright), tmp_path / f"a{ending}")
    nibabel.save(nibabel.Nifti1Image(VALUES[::-1], turned), tmp_path / f"b{ending}")
    # The file's first axis is z of the patient.
    permuted = np.array([[0, 0, 0.5, 0], [0, 1.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(VALUES.transpose(2, 1, 0), permuted), tmp_path / f"c{ending}")
    for name in "abc":
        found = read_signal(tmp_path / f"{name}{ending}")
        assert found.spacing == (2.0, 1.0, 0.5)
        np.testing.assert_array_equal(found.values, VALUES.transpose(2, 1, 0)[None])


def test_stored_integers_are_scaled_and_channels_come_first(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(2 * 3 * 4 * 2, dtype=np.int16).reshape(2, 3, 4, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    found = read_signal(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(found.values, expected.transpose(3, 2, 1, 0))
    assert found.values.shape == (2, 4, 3, 2)


def test_damaged_files_and_other_axes_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"n+1")
    (tmp_path / "b.nii.gz").write_bytes(b"\x1f\x8b\x08")
    nibabel.save(nibabel.Nifti1Image(VALUES[0], np.eye(4)), tmp_path / "c.nii")
    for name in ("a.nii", "b.nii.gz", "c.nii"):
        with pytest.raises(DataError, match=rf"{name}' cannot be read as a signal"):
            read_signal(tmp_path / name)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(DataError, match=r"pip install 'dsft\[volumes\]'"):
        read_signal(tmp_path / "a.nii")


@pytest.mark.parametrize("factors", [(1, 2, 1), (2, 0.5, 1), (0.5, 0.5, 2)])
def test_volumes_are_resampled_as_torch_does(factors: tuple[float, ...]) -> None:
    volume = np.random.default_rng(1).normal(size=(2, 6, 8, 4)).astype(np.float32)
    size = [round(side * factor) for side, factor in zip(volume.shape[1:], factors, strict=True)]
    expected = functional.interpolate(torch.from_numpy(volume)[None], size, mode="trilinear", align_corners=False)[0]
    found = resample_volume(volume, factors, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_transform_resamples_and_refuses_volumes_without_spacing() -> None:
    own = SignalPreprocessing((4, 4, 4), 1, (0.0,), (1.0,), spacing=(1.0, 1.0, 1.0))
    volume = np.random.default_rng(2).normal(size=(1, 2, 4, 8)).astype(np.float32)
    found = SignalTransform(own)(Signal(volume, spacing=(2.0, 1.0, 0.5)))
    np.testing.assert_allclose(found, resample_volume(volume, (2.0, 1.0, 0.5), (1.0, 1.0, 1.0)))
    with pytest.raises(DataError, match="found one without"):
        SignalTransform(own)(Signal(volume))
    assert read_preprocessing(own.to_dict()) == own
    assert "every 1 x 1 x 1 mm" in own.description


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), st.sampled_from([".nii", ".nii.gz"]))
def test_a_mask_is_written_for_the_voxels_of_the_file(axes: list[int], flips: tuple[bool, ...], ending: str) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[axes] * np.where(flips, -1, 1) * [0.5, 1.0, 2.0]
    affine[:3, 3] = [5, -7, 11]
    with TemporaryDirectory() as folder:
        path, written = Path(folder) / f"a{ending}", Path(folder) / f"mask{ending}"
        nibabel.save(nibabel.Nifti1Image(VALUES, affine), path)
        # Where a value is above 0, as the network sees it and as the file has it.
        seen = (read_signal(path).values[0] > 0).astype(np.uint8)
        written.write_bytes(mask_as_nifti(seen, path, nibabel))
        found = nibabel.load(written)
        assert found.get_data_dtype() == np.uint8
        np.testing.assert_allclose(found.affine, affine)
        np.testing.assert_array_equal(np.asarray(found.dataobj), VALUES > 0)


def test_the_distance_of_two_grids_is_that_of_their_farthest_voxels() -> None:
    generator = np.random.default_rng(3)
    first, second = (np.vstack([generator.normal(size=(3, 4)), [0, 0, 0, 1]]) for _ in range(2))
    voxels = np.stack(np.meshgrid(range(3), range(4), range(2), indexing="ij"), -1).reshape(-1, 3)
    places = [nibabel.affines.apply_affine(affine, voxels) for affine in (first, second)]
    expected = np.linalg.norm(places[0] - places[1], axis=1).max()
    assert Grid((3, 4, 2), first).distance(Grid((3, 4, 2), second)) == pytest.approx(expected)
    assert Grid((3, 4, 2), np.diag([1.0, 2.0, 0.5, 1.0])).spacing == (1.0, 2.0, 0.5)
