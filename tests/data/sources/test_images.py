from __future__ import annotations

from pathlib import Path

import numpy as np

from dsft.data.sources import ImageArray
from tests.data.pictures import write_images


def test_a_colour_array_reads_as_rgb_and_its_keys_sort_as_its_numbers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 4), dtype=np.uint8).transpose(0, 2, 3, 1)
    source = ImageArray("array", ("a",), pixels, (0,) * 12)
    image = source.read(11)
    assert (image.mode, image.size) == ("RGB", (4, 5))
    np.testing.assert_array_equal(np.asarray(image), pixels[11])
    assert list(source.keys) == sorted(source.keys) == [f"{number:02d}" for number in range(12)]


def test_an_array_s_identities_are_those_of_its_content() -> None:
    pixels = np.zeros((2, 2, 2), dtype=np.uint8)
    source = ImageArray("array", ("a",), pixels, (0, 0))
    assert source.identity(0) == source.identity(1)
    pixels[1, 0, 0] = 1
    assert source.identity(0) != source.identity(1)


def test_a_file_is_identified_by_its_size_and_may_be_missing(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 2})
    path = tmp_path / source.keys[0]
    assert source.identity(0) == str(len(path.read_bytes()))
    path.unlink()
    assert source.identity(0) == "missing"
    assert not source.in_memory
    assert source.origin == str(tmp_path)
