from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.choices import SplitName
from dsft.data import ImageSource, Split, Splits, count_channels, held_out_split, make_splits, open_digits, open_folder
from dsft.data.sources import ImageArray, ImageFiles
from dsft.data.stratify import Fold
from dsft.errors import DataError
from dsft.progress import Event, Note, Report, Warn, ignore
from tests.data.pictures import write_images

TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST
CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg"


def listed(origin: str, counts: dict[str, int]) -> ImageFiles:
    keys = tuple(f"{name}/{number}.png" for name, count in counts.items() for number in range(count))
    targets = tuple(target for target, count in enumerate(counts.values()) for _ in range(count))
    return ImageFiles(Path(origin), tuple(counts), keys, targets)


def split_up(sources: dict[SplitName, ImageSource], report: Report = ignore, seed: int = 0) -> Splits:
    return make_splits(sources, val=0.1, test=0.2, seed=seed, report=report)


def test_an_undivided_source_is_divided_three_ways() -> None:
    events: list[Event] = []
    splits = split_up(dict(open_digits()), events.append)
    assert splits.test is not None
    parts = [splits.train, splits.val, splits.test]
    assert [len(part) for part in parts] == [1258, 180, 359]
    assert sorted(index for part in parts for index in part.indices) == list(range(1797))
    counts = Counter(splits.test.targets)
    assert max(counts.values()) - min(counts.values()) <= 2
    [note] = events
    assert note == Note(
        "data: 1,797 images of 10 classes (1,258 train, 180 val, 359 test); val and test drawn from 'digits'"
    )


def test_only_val_is_drawn_where_there_is_a_test_split() -> None:
    splits = split_up({TRAIN: listed("t", {"a": 20, "b": 20}), TEST: listed("e", {"a": 4, "b": 4})})
    assert splits.test is not None
    assert [len(splits.train), len(splits.val), len(splits.test)] == [36, 4, 8]
    assert splits.val.source is splits.train.source


def test_with_val_and_no_test_nothing_is_drawn_and_asking_for_test_is_an_error() -> None:
    splits = split_up({TRAIN: listed("t", {"a": 20, "b": 20}), VAL: listed("v", {"a": 4, "b": 4})})
    assert splits.test is None
    assert len(splits.get(TRAIN)) == 40
    assert splits.get(VAL) is splits.val
    with pytest.raises(DataError, match=r"there is no test split: 't' has a val split.*splits=\[val\]"):
        splits.get(TEST)


def test_classes_of_other_splits_are_mapped_to_those_of_train_by_name() -> None:
    events: list[Event] = []
    splits = split_up({TRAIN: listed("t", {"a": 9, "b": 9, "c": 9}), VAL: listed("v", {"a": 2, "c": 3})}, events.append)
    assert splits.val.source.targets == (0, 0, 1, 1, 1)
    assert splits.val.targets == (0, 0, 2, 2, 2)
    assert Warn("data: the val split has no images of 'b'") in events


def test_classes_that_train_lacks_are_an_error_that_names_them() -> None:
    for name in (VAL, TEST):
        sources: dict[SplitName, ImageSource] = {
            TRAIN: listed("t", {"a": 9, "b": 9}),
            name: listed("held", {"a": 2, "x": 1, "y": 1}),
        }
        with pytest.raises(
            DataError, match=f"the {name} split in 'held' has classes that train does not have: 'x', 'y'"
        ):
            split_up(sources)


def test_a_model_s_class_table_serves_for_a_held_out_source_of_its_own() -> None:
    events: list[Event] = []
    split = held_out_split(TEST, listed("t", {"b": 1, "a": 2}), ("z", "a", "b"), events.append)
    assert split.targets == (2, 1, 1)
    assert events == [Warn("data: the test split has no images of 'z'")]
    with pytest.raises(DataError, match="has no image"):
        held_out_split(TEST, listed("t", {}), ("a",))


def test_a_single_class_and_a_class_without_images_are_errors() -> None:
    with pytest.raises(DataError, match=r"at least two classes.*found \['a'\] in 't'"):
        split_up({TRAIN: listed("t", {"a": 9})})
    with pytest.raises(DataError, match="without training images: 'b'"):
        split_up({TRAIN: listed("t", {"a": 9, "b": 0})})


def test_a_class_that_is_too_small_for_held_out_splits_is_a_warning() -> None:
    events: list[Event] = []
    split_up({TRAIN: listed("t", {"a": 30, "b": 1})}, events.append)
    assert Warn("data: the val split has no images of 'b'") in events
    assert Warn("data: the test split has no images of 'b'") in events


def test_the_seed_decides_the_draw_and_listing_again_repeats_it(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 12, "b": 15})
    first, second = (split_up(dict(open_folder(tmp_path))) for _ in range(2))
    assert first == second
    assert split_up(dict(open_folder(tmp_path)), seed=1).val.keys != first.val.keys


def fingerprint(root: Path) -> str:
    return split_up(dict(open_folder(root))).train.fingerprint


def test_the_fingerprint_changes_with_content_name_and_class_and_with_nothing_else(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 12, "b": 15})
    original = fingerprint(tmp_path)
    key = split_up(dict(open_folder(tmp_path))).train.keys[0]
    image, content = tmp_path / key, (tmp_path / key).read_bytes()
    os.utime(image, (0, 0))
    assert fingerprint(tmp_path) == original
    image.write_bytes(content + b"\0")
    assert fingerprint(tmp_path) != original
    image.write_bytes(content)
    assert fingerprint(tmp_path) == original
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    assert fingerprint(moved) == original
    (moved / "a").rename(moved / "z")
    assert fingerprint(moved) != original


def test_the_fingerprint_is_independent_of_name_and_order_of_the_split() -> None:
    pixels = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    source = ImageArray("array", ("a", "b"), pixels, (0, 1) * 3)
    split = Split(VAL, source, (0, 2, 5), source.classes)
    same = Split(TEST, source, (5, 0, 2), source.classes)
    assert same.fingerprint == split.fingerprint
    other_table = Split(VAL, source, (0, 2, 5), ("b", "a"))
    assert other_table.fingerprint == split.fingerprint
    changed = pixels.copy()
    changed[2, 0, 0] += 1
    assert Split(VAL, ImageArray("array", ("a", "b"), changed, (0, 1) * 3), (0, 2, 5), ("a", "b")) != split
    altered = Split(VAL, ImageArray("array", ("a", "b"), changed, (0, 1) * 3), (0, 2, 5), ("a", "b"))
    assert altered.fingerprint != split.fingerprint


def test_a_broken_link_still_has_a_fingerprint(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 1, "b": 1})
    (tmp_path / source.keys[0]).unlink()
    assert len(Split(TRAIN, source, (0, 1), source.classes).fingerprint) == 64


def test_the_index_is_json_and_names_every_image_once() -> None:
    index = json.loads(json.dumps(split_up(dict(open_digits())).index()))
    assert index["classes"] == [str(digit) for digit in range(10)]
    keys = [key for part in index["splits"].values() for key in part["keys"]]
    assert sorted(keys) == [f"{number:04d}" for number in range(1797)]
    assert len({part["fingerprint"] for part in index["splits"].values()}) == 3


@pytest.mark.skipif(not CIFAR.is_dir(), reason="shared images are not there")
def test_real_folders() -> None:
    splits = split_up(dict(open_folder(CIFAR)))
    assert splits.classes[:3] == ("airplane", "automobile", "bird")
    assert [len(splits.get(name)) for name in (TRAIN, VAL, TEST)] == [9000, 1000, 2000]
    assert set(Counter(splits.val.targets).values()) == {100}
    assert splits.val.keys[0].startswith("airplane/")


def test_a_fold_is_drawn_where_there_is_no_val_split() -> None:
    parts = [make_splits(open_digits(), val=Fold(index, 4), test=0.2, seed=0) for index in range(4)]
    assert len({part.test.fingerprint for part in parts if part.test is not None}) == 1
    assert sum(len(part.val) for part in parts) == 1797 - 359
    assert len({part.val.fingerprint for part in parts}) == 4


def test_a_fold_beside_a_val_split_is_an_error() -> None:
    sources: dict[SplitName, ImageSource] = {TRAIN: listed("t", {"a": 5, "b": 5}), VAL: listed("v", {"a": 2, "b": 2})}
    with pytest.raises(DataError, match=r"data\.val\.fold: 't' has a val split"):
        make_splits(sources, val=Fold(0, 5), test=0.2, seed=0)


def test_channels_are_those_of_the_images(tmp_path: Path) -> None:
    assert count_channels(split_up(dict(open_digits())).train) == 1
    source = write_images(tmp_path, {"a": 3, "b": 3})
    assert count_channels(Split(TRAIN, source, tuple(range(6)), source.classes)) == 3
    Image.new("L", (4, 4)).save(tmp_path / source.keys[0])
    assert count_channels(Split(TRAIN, source, tuple(range(6)), source.classes)) == 3
    assert count_channels(Split(TRAIN, source, (0,), source.classes)) == 1
    (tmp_path / source.keys[1]).write_bytes(b"")
    assert count_channels(Split(TRAIN, source, (0, 1), source.classes)) == 1


def label_sets(targets: Sequence[tuple[int, ...]], classes: Sequence[str]) -> ImageArray:
    pixels = np.random.default_rng(0).integers(0, 256, (len(targets), 4, 4), dtype=np.uint8)
    return ImageArray("array", tuple(classes), pixels, tuple(targets))


def test_label_sets_are_mapped_counted_and_reported() -> None:
    source = label_sets([(0,), (0, 1), (), (1,)] * 10, ["cow", "ant"])
    events: list[Event] = []
    splits = make_splits({TRAIN: source}, val=0.2, test=0.2, seed=0, report=events.append)
    assert [len(split) for split in (splits.train, splits.val, splits.test) if split] == [24, 8, 8]
    assert [split.count_classes() for split in (splits.train, splits.val)] == [[12, 12], [4, 4]]
    assert any(isinstance(event, Note) and event.message.endswith("; 10 of them without labels") for event in events)
    turned = held_out_split(TEST, source, ("ant", "bee", "cow"))
    assert turned.targets[:4] == ((2,), (0, 2), (), (0,))
    assert [turned.name_labels(position) for position in range(4)] == ["cow", "ant;cow", "", "ant"]
    other = label_sets([(0,), (0, 1), (1,), (1,)] * 10, ["cow", "ant"])
    assert held_out_split(TEST, other, ("ant", "bee", "cow")).fingerprint != turned.fingerprint


def test_a_label_without_training_images_is_an_error() -> None:
    # The two images of the rare label go to where images with the other one are wanted.
    source = label_sets([(0,), (0,)] + [(1,)] * 4, ["rare", "often"])
    with pytest.raises(DataError, match=r"train has no images of 'rare'\. .* choose another data\.seed"):
        make_splits({TRAIN: source}, val=0.4, test=0.4, seed=0)
    with pytest.raises(DataError, match="has no labelled images to train on"):
        make_splits({TRAIN: label_sets([(), ()], [])}, val=0.2, test=0.2, seed=0)
