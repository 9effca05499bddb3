from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.choices import SplitName
from dsft.data import Split, check_examples
from dsft.data.sources import ImageFiles
from dsft.progress import Advanced, Event, Finished, Started
from tests.data.pictures import write_images

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


@pytest.fixture
def source(tmp_path: Path) -> ImageFiles:
    return write_images(tmp_path, {"a": 5, "b": 4})


def part(name: SplitName, source: ImageFiles, *indices: int) -> Split:
    return Split(name, source, indices, source.classes)


def test_contents_are_counted(source: ImageFiles) -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (5, 20), dtype=np.uint8)
    Image.fromarray(pixels).save(source.root / source.keys[0])
    events: list[Event] = []
    check = check_examples([part(TRAIN, source, 0, 1, 2, 5), part(VAL, source, 6)], events.append)
    assert check.is_clean
    assert (check.corrupt, check.same) == ((), ())
    train = check.splits[TRAIN]
    assert (train.count, train.classes, train.flags) == (4, {"a": 3, "b": 1}, {"grayscale": 1})
    assert train.sizes == {"widths": (8, 8, 20), "heights": (5, 8, 8)}
    assert (check.splits[VAL].classes, check.splits[VAL].sizes["widths"]) == ({"a": 0, "b": 1}, (8, 8, 8))
    assert events[0] == Started("checking images", 5, "images")
    assert [event.done for event in events if isinstance(event, Advanced)] == [1, 2, 3, 4, 5]
    assert isinstance(events[-1], Finished)


def test_damaged_images_are_named(source: ImageFiles) -> None:
    whole = (source.root / source.keys[6]).read_bytes()
    (source.root / source.keys[6]).write_bytes(whole[: len(whole) // 2])
    check = check_examples([part(TRAIN, source, 0, 1), part(VAL, source, 6)])
    [image] = check.corrupt
    assert (image.split, image.key) == (VAL, "b/001.png")
    assert "001.png' cannot be read as an image" in image.message
    assert not check.is_clean
    assert check.splits[VAL].sizes["widths"] is None


def test_the_same_pixels_are_found_whatever_the_file(source: ImageFiles) -> None:
    for origin, copy in ((0, 5), (1, 2), (0, 8)):
        # Another file with the same pixels.
        Image.open(source.root / source.keys[origin]).save(source.root / source.keys[copy], compress_level=0)
    splits = [part(TRAIN, source, 0, 1, 2, 3), part(VAL, source, 5, 6), part(TEST, source, 7, 8)]
    check = check_examples(splits)
    leak, repeat = check.same
    assert leak.places == ((TRAIN, "a/000.png", "a"), (VAL, "b/000.png", "b"), (TEST, "b/003.png", "b"))
    assert leak.is_leak
    assert leak.is_contradiction
    assert repeat.places == ((TRAIN, "a/001.png", "a"), (TRAIN, "a/002.png", "a"))
    assert not repeat.is_leak
    assert not repeat.is_contradiction
    assert check.count_leaks() == {(TRAIN, VAL): 1, (TRAIN, TEST): 1, (VAL, TEST): 1}
    assert not check.is_clean
    assert dataclasses.replace(check, same=(repeat,)).is_clean


def test_images_of_one_colour_differ_by_their_size(source: ImageFiles) -> None:
    for index, size in enumerate([(4, 6), (6, 4)]):
        Image.new("RGB", size).save(source.root / source.keys[index])
    assert check_examples([part(TRAIN, source, 0, 1)]).same == ()
