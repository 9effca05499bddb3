"""The digits of scikit-learn: 1,797 images that are installed with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsft.choices import SplitName
from dsft.data.sources.images import ImageArray, ImageSource

_GREY_LEVELS = 16


def open_digits() -> Mapping[SplitName, ImageSource]:
    """Return the digits, 8x8 pixels each, in one part; nothing is downloaded.

    They are the test set of Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998).
    """
    # Importing scikit-learn takes a second.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / _GREY_LEVELS)).astype(np.uint8)
    classes = tuple(str(name) for name in bunch.target_names)
    targets = tuple(int(target) for target in bunch.target)
    return {SplitName.TRAIN: ImageArray("digits", classes, pixels, targets)}
