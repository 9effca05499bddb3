"""Medical volumes in NIfTI files, read by nibabel."""

from __future__ import annotations

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
