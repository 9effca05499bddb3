"""Predict a class for each sample of signals and volumes, for the samples that their files have."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dsft.data.nifti import NIFTI_EXTENSIONS, import_nibabel, mask_as_nifti
from dsft.data.signal_masks import restore_classes
from dsft.data.signal_transforms import SignalTransform
from dsft.data.sound import ARRAY_EXTENSION, read_signal
from dsft.data.sources.folder import has_extension
from dsft.evaluation.prediction import Prediction
from dsft.preprocessing import SignalPreprocessing
from dsft.storage import write_bytes


@dataclass(frozen=True)
class ArrayPredictor:
    """Writes the predicted class of each sample of signals: of a NIfTI file as one, of others as NumPy files.

    Attributes:
        preprocessing: The network's input.
        files: The file to write, by the path of the signal.
    """

    preprocessing: SignalPreprocessing
    files: Mapping[str, Path]

    def __call__(self, paths: Sequence[str], outputs: Tensor) -> list[Prediction]:
        """Write a file for each signal, and return their paths."""
        for path, classes in zip(paths, outputs.argmax(1).byte().numpy(), strict=True):
            write_bytes(self.files[path], self._content(Path(path), classes))
        return [Prediction(path, file=str(self.files[path])) for path in paths]

    def _content(self, path: Path, classes: NDArray[np.uint8]) -> bytes:
        signal = read_signal(path)
        resampled = SignalTransform(self.preprocessing).samples(signal).shape[1:]
        restored = restore_classes(classes, resampled, signal.values.shape[1:])
        if has_extension(path.name, NIFTI_EXTENSIONS):
            return mask_as_nifti(restored, path, import_nibabel())
        content = io.BytesIO()
        np.save(content, restored)
        return content.getvalue()


def signal_mask_name(path: str) -> tuple[str, str]:
    """Return the name without ending, and the ending, of the file for the predicted classes of a signal's samples."""
    name = Path(path).name
    ending = next((each for each in sorted(NIFTI_EXTENSIONS, reverse=True) if name.lower().endswith(each)), "")
    return (name[: -len(ending)], ending[1:]) if ending else (Path(path).stem, ARRAY_EXTENSION[1:])
