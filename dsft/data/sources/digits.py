"""The embedded data set: scikit-learn's 1,797 real images of handwritten digits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsft.choices import SplitName
from dsft.data.sources.images import ImageArray, ImageSource

_GREY_LEVELS = 16


def open_digits() -> Mapping[SplitName, ImageSource]:
    """Return the digits, 8x8 pixels each, undivided; no download.

    They are the test part of Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998).
    """
    # scikit-learn takes a second to import, and only this source needs it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / _GREY_LEVELS)).astype(np.uint8)
    classes = tuple(str(name) for name in bunch.target_names)
    targets = tuple(int(target) for target in bunch.target)
    return {SplitName.TRAIN: ImageArray("digits", classes, pixels, targets)}
