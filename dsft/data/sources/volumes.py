"""Volumes in files: one folder or label for each class, or with masks that hold the class of each voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dsft.choices import InputKind, SplitName, TargetKind
from dsft.data.nifti import NIFTI_EXTENSIONS, import_nibabel, read_grid
from dsft.data.sound import ARRAY_EXTENSION, read_array_shape, read_signal
from dsft.data.sources.audio import Groups, open_audio
from dsft.data.sources.folder import has_extension
from dsft.data.sources.images import Source
from dsft.data.sources.masks import class_indices, class_table
from dsft.data.sources.naming import parse_split
from dsft.data.sources.picture_pairs import PairedFiles, PicturePair, find_pairs
from dsft.errors import DataError
from dsft.progress import Report, ignore
from dsft.storage import at_home

VOLUME_EXTENSIONS = NIFTI_EXTENSIONS | {ARRAY_EXTENSION}

_IMAGES, _MASKS = "images", "masks"
_TOLERANCE = 0.1
"""Largest distance of a voxel of a mask from that of its image, as a fraction of the smallest spacing."""


@dataclass(frozen=True)
class MaskedVolumes(PairedFiles):
    """Volume files with mask files; a mask holds the class index of each voxel.

    Attributes:
        ignore_index: The value of voxels without a class.
    """

    ignore_index: int
    input_kind: ClassVar[InputKind] = InputKind.SIGNAL
    target_kind: ClassVar[TargetKind] = TargetKind.MASK

    def read_target(self, index: int) -> NDArray[np.uint8]:
        """Return the class of each voxel ``(depth, height, width)``, turned as the volume is; 255 is no class.

        Raises:
            DataError: The mask cannot be read, has other voxels than its volume, or values that are no class indices.
        """
        pair = self.pairs[index]
        values = _values(pair)
        if (is_fractional := values != np.rint(values)).any():
            raise DataError(
                f"mask {str(pair.target)!r}: must hold one class index for each voxel, found fractional values such "
                f"as {values[is_fractional][0]:g}. Resample masks by nearest neighbour."
            )
        return class_indices(values, len(self.classes), self.ignore_index, pair.target)


def open_volumes(
    root: Path,
    class_names: Sequence[str] | str | None,
    ignore_index: int,
    groups: Groups | None = None,
    report: Report = ignore,
) -> Mapping[SplitName, Source]:
    """Return the splits of volume files.

    Volumes with masks are in the folders ``images`` and ``masks``, directly below ``root`` or below ``train`` and
    optionally ``val`` and ``test``; a mask has the path of its volume. Class names mark such a data set too. All others
    have one class for each volume, see :func:`dsft.data.sources.audio.open_audio`.

    Args:
        root: The folder, or the table of volumes with one class each.
        class_names: The class table of masks, see :func:`dsft.data.sources.masks.class_table`.
        ignore_index: The value of voxels without a class.
        groups: Hold these groups out, of volumes with one class each.
        report: Receives what is found.

    Raises:
        DataError: The folder or the class table is missing, a volume has no mask, or the other way round.
    """
    root = at_home(root)
    if class_names is None and not has_masks(root):
        return open_audio(root, groups, report)
    if groups is not None:
        raise DataError(f"data.groups: volumes with masks have no groups, found {str(root)!r}. Remove the key.")
    found = find_pairs(root, _IMAGES, _MASKS, report, VOLUME_EXTENSIONS)
    classes = class_table(root, class_names)
    return {name: MaskedVolumes(folder, classes, pairs, ignore_index) for name, (folder, pairs) in found.items()}


def has_masks(root: Path) -> bool:
    """Return whether a folder, or one of its folders for splits, is laid out for volumes with masks."""
    if not root.is_dir():
        return False
    try:
        splits = [entry for entry in root.iterdir() if parse_split(entry.name) is not None]
    except OSError:  # reported where the files are listed
        return False
    return any((place / name).is_dir() for place in (root, *splits) for name in (_IMAGES, _MASKS))


def _values(pair: PicturePair) -> NDArray[np.float32]:
    """Return the values of a mask ``(depth, height, width)`` that has the voxels of its volume.

    Raises:
        DataError: It has others.
    """
    is_nifti, other = (has_extension(path.name, NIFTI_EXTENSIONS) for path in (pair.image, pair.target))
    if is_nifti is not other:
        raise DataError(
            f"mask {str(pair.target)!r}: must be of the format of its volume {pair.image.name!r}, NIfTI or NumPy, so "
            "that their voxels agree. Convert one of them."
        )
    values = read_signal(pair.target).values
    if is_nifti:
        _require_same_grid(pair)
        if len(values) != 1:
            raise DataError(
                f"mask {str(pair.target)!r}: must hold one class index for each voxel, found {len(values)} values. "
                "Combine them into one."
            )
        mask: NDArray[np.float32] = values[0]
        return mask
    size = read_array_shape(pair.image)[1:]
    if values.shape not in (size, (1, *size)):
        raise _other_shape(pair, size, values.shape)
    return values.reshape(size)


def _require_same_grid(pair: PicturePair) -> None:
    nibabel = import_nibabel()
    volume, mask = (read_grid(path, nibabel) for path in (pair.image, pair.target))
    if volume.shape != mask.shape:
        raise _other_shape(pair, volume.shape, mask.shape)
    if (distance := volume.distance(mask)) > _TOLERANCE * min(volume.spacing):
        raise DataError(
            f"mask {str(pair.target)!r}: must have the affine of its volume, found voxels that are up to "
            f"{distance:.3g} mm from those of the volume. Resample the mask to the volume."
        )


def _other_shape(pair: PicturePair, expected: tuple[int, ...], found: tuple[int, ...]) -> DataError:
    return DataError(
        f"mask {str(pair.target)!r}: must have the shape of its volume, {expected}, found {found}. Resample the mask "
        "to the volume."
    )
