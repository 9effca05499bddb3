"""The description of the evaluation transform, used for training, evaluation, prediction and export.

A kind of input is a file in this package and one entry in the registry here.
"""

from collections.abc import Mapping
from typing import Any

from dsft.choices import InputKind
from dsft.preprocessing.clips import ClipPreprocessing
from dsft.preprocessing.images import LETTERBOX, ImageSize, Preprocessing, as_height_and_width
from dsft.preprocessing.input_preprocessing import InputPreprocessing
from dsft.preprocessing.signals import MelSpectrogram, SignalPreprocessing
from dsft.preprocessing.texts import FIRST_WORD, PADDING, UNKNOWN, TextPreprocessing

__all__ = [
    "FIRST_WORD",
    "LETTERBOX",
    "PADDING",
    "UNKNOWN",
    "ClipPreprocessing",
    "ImageSize",
    "InputPreprocessing",
    "MelSpectrogram",
    "Preprocessing",
    "SignalPreprocessing",
    "TextPreprocessing",
    "as_height_and_width",
    "preprocessing_type",
    "read_preprocessing",
]

_KINDS: Mapping[InputKind, type[InputPreprocessing]] = {
    kind.kind: kind for kind in (Preprocessing, SignalPreprocessing, ClipPreprocessing, TextPreprocessing)
}


def preprocessing_type(values: Mapping[str, Any]) -> type[InputPreprocessing]:
    """Return the class of the evaluation transform that JSON values describe; without ``kind`` that of images.

    Raises:
        ValueError: The kind is unknown.
    """
    return _KINDS[InputKind(values.get("kind", InputKind.IMAGE))]


def read_preprocessing(values: Mapping[str, Any]) -> InputPreprocessing:
    """Create the evaluation transform that :meth:`InputPreprocessing.to_dict` returned.

    Raises:
        KeyError, TypeError, ValueError: ``values`` is no evaluation transform.
    """
    return preprocessing_type(values).from_dict(values)
