"""Volumes with masks for tests: ellipsoids in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

CLASSES = ("background", "ellipsoid")


def ellipsoid(seed: int, size: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return a volume ``(depth, height, width)`` with a bright ellipsoid in noise, and the class of each voxel."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"))
    sides = np.array(size)
    radii, centre = generator.uniform(0.2, 0.35, 3) * sides, generator.uniform(0.4, 0.6, 3) * sides
    inside = (((grid - centre.reshape(3, 1, 1, 1)) / radii.reshape(3, 1, 1, 1)) ** 2).sum(0) <= 1
    values = inside * 1.0 + generator.normal(0, 0.2, size)
    return values.astype(np.float32), inside.astype(np.uint8)


def save_nifti(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a NIfTI file with values along x, y and z."""
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def write_masked_scans(root: Path, count: int) -> None:
    """Write NIfTI files with masks; in every second one, x grows towards left, and slices are twice as thick."""
    for number in range(count):
        thickness = 1 + number % 2
        values, mask = (each.T for each in ellipsoid(number, (12 // thickness, 10, 11)))
        affine = np.diag([1.0, 1.0, thickness, 1.0])
        if number % 2:
            values, mask = values[::-1], mask[::-1]
            affine = np.array([[-1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, thickness, 0], [0, 0, 0, 1]])
        save_nifti(root / "images" / f"scan{number:02d}.nii.gz", values, affine)
        save_nifti(root / "masks" / f"scan{number:02d}.nii.gz", mask, affine)


def write_masked_arrays(root: Path, count: int) -> None:
    """Write NumPy files with masks."""
    for number in range(count):
        values, mask = ellipsoid(number, (10, 9, 12))
        for name, array in (("images", values[None]), ("masks", mask)):
            (root / name).mkdir(parents=True, exist_ok=True)
            np.save(root / name / f"{number}.npy", array)
