"""Medical volumes in NIfTI files, read by nibabel."""

from __future__ import annotations

import gzip
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsft.errors import DataError

NIFTI_EXTENSIONS = frozenset({".nii", ".nii.gz"})


def import_nibabel() -> Any:
    """Return nibabel.

    Raises:
        DataError: It is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise DataError(
            f"NIfTI files are read by the package nibabel, which cannot be imported ({error}). Install it with "
            "pip install 'dsft[volumes]'."
        ) from error
    return nibabel


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a NIfTI file are.

    Attributes:
        shape: Their number along the first three axes of the file.
        affine: The matrix ``(4, 4)`` from the index of a voxel to its place, in mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distances of neighbouring voxels along the axes of the file, in mm."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    def distance(self, other: Grid) -> float:
        """Return the largest distance of a voxel from that of another file of the same shape, in mm."""
        # The difference of two affine maps is largest at a corner.
        corners = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in self.shape))])
        moved = corners @ (self.affine - other.affine).T
        return float(np.linalg.norm(moved[:, :3], axis=1).max())


def read_grid(path: Path, nibabel: Any) -> Grid:
    """Return where the voxels of a NIfTI file are, without reading their values.

    Raises:
        Exception: Whatever nibabel raises of a damaged file.
    """
    image = nibabel.load(path)
    return Grid(image.shape[:3], np.asarray(image.affine, np.float64))


def read_nifti(path: Path, nibabel: Any) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Read a NIfTI file, turned so that the axes are those of the patient.

    Args:
        path: The file; its axes are x, y, z and optionally one for channels.
        nibabel: The package.

    Returns:
        The values ``(channels, z, y, x)`` in ascending order towards superior, anterior and right, and the distances of
        neighbouring voxels along z, y and x, in the unit of the file, which is mm by convention.

    Raises:
        ValueError: It has another number of axes.
        Exception: Whatever nibabel raises of a damaged file.
    """
    image = nibabel.as_closest_canonical(nibabel.load(path))
    values = np.asarray(image.dataobj, np.float32)
    if values.ndim not in (3, 4):
        raise ValueError(f"expected the axes x, y, z and optionally one for channels, found the shape {values.shape}")
    channels_last = values if values.ndim == 4 else values[..., None]
    spacing = tuple(round(float(size), 6) for size in image.header.get_zooms()[2::-1])
    return np.ascontiguousarray(channels_last.T), spacing


def mask_as_nifti(classes: NDArray[np.uint8], volume: Path, nibabel: Any) -> bytes:
    """Return the content of a NIfTI file with a class for each voxel of a volume, with its shape and affine.

    Args:
        classes: Class indices ``(z, y, x)``, in the order that :func:`read_nifti` gives the voxels of the volume.
        volume: The file of the volume; the content is compressed if the file is.
        nibabel: The package.

    Raises:
        Exception: Whatever nibabel raises of a damaged file.
    """
    image, axes = nibabel.load(volume), nibabel.orientations
    back = axes.ornt_transform(axes.axcodes2ornt("RAS"), axes.io_orientation(image.affine))
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # the displayed range of the volume's values
    content: bytes = type(image)(axes.apply_orientation(classes.T, back), image.affine, header).to_bytes()
    return gzip.compress(content, mtime=0) if volume.name.lower().endswith(".gz") else content
