from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from dsft.choices import SplitName
from dsft.data import open_digits


def test_the_digits_are_scikit_learns_on_the_scale_of_an_image() -> None:
    sources = open_digits()
    assert list(sources) == [SplitName.TRAIN]
    source = sources[SplitName.TRAIN]
    bunch = load_digits()
    assert source.in_memory
    assert source.classes == tuple("0123456789")
    assert list(source.targets) == bunch.target.tolist()
    assert (source.keys[0], source.keys[-1], len(source.keys)) == ("0000", "1796", 1797)
    for index in (0, 7, 1796):
        image = source.read(index)
        assert (image.mode, image.size) == ("L", (8, 8))
        np.testing.assert_allclose(np.asarray(image) / 255, bunch.images[index] / 16, atol=0.5 / 255)
    assert source.identity(0) == open_digits()[SplitName.TRAIN].identity(0) != source.identity(1)
