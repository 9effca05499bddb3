from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dsft.choices import BadImages, Sampler, SplitName
from dsft.data import (
    Batch,
    BatchLoader,
    LoaderSettings,
    Mixing,
    Split,
    evaluation_transform,
    make_loader,
    make_splits,
    open_digits,
    training_transform,
)
from dsft.data.sources import ImageArray
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import DataError
from tests.data.pictures import model_input, write_images

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded.*fork")
AUGMENTED = training_transform(
    model_input(1),
    scale=(0.5, 1.0),
    hflip=0.5,
    auto_augment="rand-m9-mstd0.5-inc1",
    color_jitter=None,
    erase=0.5,
)


def some(count: int) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    targets = tuple(index % 3 for index in range(count))
    source = ImageArray("array", ("a", "b", "c"), pixels, targets)
    return Split(SplitName.TRAIN, source, tuple(range(count)), source.classes)


def loader(
    split: Split,
    batch_size: int = 4,
    *,
    workers: int | Literal["auto"] = 0,
    seed: int = 0,
    shuffle: bool = True,
    bad_images: BadImages = BadImages.ERROR,
    mixing: Mixing = Mixing(),  # noqa: B008 - frozen
    sampler: Sampler = Sampler.UNIFORM,
    launch: Launch = SINGLE,
) -> BatchLoader:
    return make_loader(
        split,
        AUGMENTED if shuffle else evaluation_transform(model_input(1)),
        LoaderSettings(batch_size, workers, seed, bad_images),
        shuffle=shuffle,
        mixing=mixing,
        sampler=sampler,
        launch=launch,
    )


def positions(batches: Sequence[Batch]) -> list[list[int]]:
    return [batch.positions.tolist() for batch in batches]


def all_equal(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    return positions(first) == positions(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        for a, b in zip(first, second, strict=True)
    )


def by_position(batches: Sequence[Batch]) -> dict[int, Tensor]:
    pairs = [(int(p), image) for batch in batches for p, image in zip(batch.positions, batch.images, strict=True)]
    return dict(pairs)


def test_batches_are_typed_and_name_their_images() -> None:
    split = some(10)
    batches = list(loader(split, shuffle=False).epoch(0))
    assert positions(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    first = batches[0]
    assert (first.images.shape, first.images.dtype) == ((4, 1, 8, 8), torch.float32)
    assert first.targets.dtype == first.positions.dtype == torch.int64
    assert first.targets.tolist() == list(split.targets[:4])
    assert torch.equal(first.images[1], evaluation_transform(model_input(1))(split.source.read(1)))


def test_every_epoch_is_another_permutation_of_the_split() -> None:
    batches = [list(loader(some(40)).epoch(number)) for number in range(3)]
    orders = [list(by_position(epoch)) for epoch in batches]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != list(range(40))


def test_order_and_augmentation_do_not_depend_on_the_number_of_workers() -> None:
    alone, helped = loader(some(30)), loader(some(30), workers=2)
    for number in (0, 1):
        assert all_equal(list(alone.epoch(number)), list(helped.epoch(number)))


def test_more_workers_than_images_change_nothing() -> None:
    assert all_equal(list(loader(some(3), 2, workers=5).epoch(0)), list(loader(some(3), 2).epoch(0)))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_does_not_depend_on_those_before_or_on_global_generators(workers: int) -> None:
    expected = list(loader(some(30)).epoch(3))
    used = loader(some(30), workers=workers)
    for _ in used.epoch(0):
        break  # abandoned, with batches under way
    list(used.epoch(7))
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    assert all_equal(list(used.epoch(3)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_begin_in_its_middle(workers: int) -> None:
    made = loader(some(30), workers=workers)
    whole = list(made.epoch(1))
    rest = list(made.epoch(1, 3))
    assert [batch.number for batch in whole] == list(range(8))
    assert [batch.number for batch in rest] == list(range(3, 8))
    assert all_equal(rest, whole[3:])
    assert list(made.epoch(1, 8)) == []
    assert all_equal(list(made.epoch(1)), whole)


def test_mixing_does_not_depend_on_workers_or_on_where_an_epoch_begins() -> None:
    mixing = Mixing(mixup=0.5, cutmix=1.0, off_epoch=2)
    alone, helped = (loader(some(30), workers=workers, mixing=mixing) for workers in (0, 2))
    for number in (0, 1, 2):
        whole = list(alone.epoch(number))
        assert all_equal(list(helped.epoch(number)), whole)
        assert all_equal(list(helped.epoch(number, 3)), whole[3:])
    first, second, last = (next(iter(alone.epoch(number))) for number in (0, 1, 2))
    plain = next(iter(loader(some(30)).epoch(0)))
    assert first.targets.shape == (4, 3)
    assert torch.equal(first.positions, plain.positions)
    assert not torch.equal(first.images, plain.images)
    assert not torch.equal(first.targets, second.targets)
    assert last.targets.dtype == torch.int64


def test_a_balanced_epoch_augments_each_repeat_of_an_image_otherwise() -> None:
    split = some(30)
    rare = dataclasses.replace(split, indices=tuple(index for index in range(30) if index % 3 or index < 6))
    alone, helped = (loader(rare, workers=workers, sampler=Sampler.BALANCED) for workers in (0, 2))
    batches = list(alone.epoch(1))
    assert all_equal(list(helped.epoch(1)), batches)
    pairs = [(int(p), x) for batch in batches for p, x in zip(batch.positions, batch.images, strict=True)]
    assert len(pairs) == 22
    twice = [image for position, image in pairs if position == 0]
    assert len(twice) in (3, 4)
    assert not any(torch.equal(twice[0], other) for other in twice[1:])
    plain = by_position(list(loader(rare).epoch(1)))
    assert any(torch.equal(plain[0], image) for image in twice)


def test_augmentation_changes_with_epoch_and_seed_and_not_with_the_batch_size() -> None:
    first, second = (by_position(list(loader(some(20)).epoch(number))) for number in (0, 1))
    other_seed = by_position(list(loader(some(20), seed=1).epoch(0)))
    other_size = by_position(list(loader(some(20), batch_size=5).epoch(0)))
    assert sum(torch.equal(first[position], second[position]) for position in first) < 5
    assert sum(torch.equal(first[position], other_seed[position]) for position in first) < 5
    assert all(torch.equal(first[position], other_size[position]) for position in first)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(workers: int) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: S311 - no secret
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    list(loader(some(12), workers=workers).epoch(0))
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == expected  # noqa: S311


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (9, 4, [4, 4]),
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (3, 64, [3]),
        (1, 64, [1]),
        (3, 1, [1, 1, 1]),
        (5, 2, [2, 2]),
    ],
)
def test_training_drops_only_a_last_batch_of_one(count: int, batch_size: int, sizes: list[int]) -> None:
    made = loader(some(count), batch_size)
    batches = list(made.epoch(0))
    assert [len(batch.targets) for batch in batches] == sizes
    assert len(made) == len(sizes)


def test_evaluation_drops_nothing() -> None:
    made = loader(some(9), shuffle=False)
    assert [len(batch.targets) for batch in made.epoch(0)] == [4, 4, 1]
    assert len(made) == 3


def test_one_epoch_runs_at_a_time() -> None:
    made = loader(some(12))
    first = made.epoch(0)
    next(first)
    next(made.epoch(1))
    with pytest.raises(RuntimeError, match="another epoch of this loader has started"):
        next(first)


def damaged(root: Path, count: int, bad: Sequence[int]) -> Split:
    source = write_images(root, {"a": count})
    for index in bad:
        (root / source.keys[index]).write_bytes(b"no image")
    return Split(SplitName.VAL, source, tuple(range(count)), source.classes)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_an_error_that_names_it(tmp_path: Path, workers: int) -> None:
    made = loader(damaged(tmp_path, 9, [6]), workers=workers, shuffle=False)
    with pytest.raises(DataError, match=r"^'.*006\.png' cannot be read as an image") as caught:
        list(made.epoch(0))
    assert "Traceback" not in str(caught.value)
    assert "Repair or remove it. Or skip such images with data.bad_images=skip" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_are_counted_and_never_replaced(tmp_path: Path, workers: int) -> None:
    split = damaged(tmp_path, 11, [1, 4, 5, 6, 7])
    made = loader(split, workers=workers, shuffle=False, bad_images=BadImages.SKIP)
    batches = list(made.epoch(0))
    assert positions(batches) == [[0, 2, 3], [8, 9, 10]]
    assert [batch.number for batch in batches] == [0, 2]
    assert set(made.skipped) == {"a/001.png", "a/004.png", "a/005.png", "a/006.png", "a/007.png"}
    assert all(str(tmp_path / key) in reason and "Or skip" not in reason for key, reason in made.skipped.items())
    list(made.epoch(1))
    assert len(made.skipped) == 5


def test_a_training_batch_that_skipping_leaves_with_one_image_is_dropped(tmp_path: Path) -> None:
    split = damaged(tmp_path, 8, [1, 2, 3])
    made = loader(split, batch_size=2, bad_images=BadImages.SKIP)
    for number in range(5):
        assert {len(batch.targets) for batch in made.epoch(number)} <= {2}
    assert all(len(batch.targets) == 1 for batch in loader(split, 1, bad_images=BadImages.SKIP).epoch(0))


def test_a_split_with_nothing_readable_is_an_error(tmp_path: Path) -> None:
    made = loader(damaged(tmp_path, 3, [0, 1, 2]), shuffle=False, bad_images=BadImages.SKIP)
    with pytest.raises(DataError, match=r"the val split has no readable batch: 3 of 3 images.*'a/000\.png'"):
        list(made.epoch(0))


def test_workers_are_chosen_by_cores_and_by_what_there_is_to_read(tmp_path: Path) -> None:
    def chosen(split: Split) -> int:
        return loader(split, workers="auto").workers

    digits = make_splits(open_digits(), val=0.1, test=0.2, seed=0).train
    assert chosen(digits) == 0
    files = write_images(tmp_path, {"a": 1})
    assert chosen(Split(SplitName.TRAIN, files, (0,) * 20, files.classes)) == 0
    assert 1 <= chosen(Split(SplitName.TRAIN, files, (0,) * 5000, files.classes)) <= 8


def shares(split: Split, batch_size: int, count: int, *, shuffle: bool) -> list[list[list[int]]]:
    """Return the positions that each process has of each batch of epoch 1, by the batch's number."""
    found = []
    for rank in range(count):
        parts: dict[int, list[int]] = {}
        for batch in loader(split, batch_size, shuffle=shuffle, launch=Launch(rank, count)).epoch(1):
            parts[batch.number] = batch.positions.tolist()
        found.append([parts.get(number, []) for number in range(max(parts, default=-1) + 1)])
    return found


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("images", [1, 2, 3, 5, 12, 23, 24, 25, 26, 29])
def test_several_processes_have_the_batches_of_one(count: int, images: int) -> None:
    split = some(images)
    (whole,) = shares(split, 12, 1, shuffle=True)
    parts = shares(split, 12, count, shuffle=True)
    for number, batch in enumerate(whole):
        theirs = [part[number] if number < len(part) else [] for part in parts]
        assert [position for part in theirs for position in part] == batch
        sizes = [len(part) for part in theirs if part]
        # As even as it can be, and no norm has to do with one image.
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > 1 or len(batch) == 1


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("images", [1, 6, 13])
def test_several_processes_score_every_image_once(count: int, images: int) -> None:
    parts = shares(some(images), 6, count, shuffle=False)
    positions = [position for part in parts for batch in part for position in batch]
    assert sorted(positions) == list(range(images))
    assert all(len(batch) <= 6 // count for part in parts for batch in part)


def test_a_process_with_unreadable_images_only_yields_no_batch(tmp_path: Path) -> None:
    split = damaged(tmp_path, 4, [0, 2])
    parts = [loader(split, 2, shuffle=False, bad_images=BadImages.SKIP, launch=Launch(rank, 2)) for rank in (0, 1)]
    assert [positions(list(part.epoch(0))) for part in parts] == [[], [[1], [3]]]
    assert [len(part.skipped) for part in parts] == [2, 0]


@pytest.mark.skipif(
    not hasattr(signal, "sigwaitinfo") or multiprocessing.get_start_method() != "fork",
    reason="nobody tells here who sent a signal, or workers begin otherwise",
)
def test_a_worker_ignores_signals_to_its_group_and_ends_on_one_of_its_parent() -> None:
    def tell(image: Image.Image) -> Tensor:
        del image
        return torch.full((1, 1, 1), float(os.getpid()))

    batches = make_loader(
        some(64),
        tell,
        LoaderSettings(batch_size=1, workers=1),
        shuffle=True,
    ).epoch(0)
    worker = int(next(batches).images)
    for name in ("INT", "TERM", "USR1"):
        subprocess.run(["kill", f"-{name}", str(worker)], check=True)
    assert [int(batch.images) for batch in islice(batches, 20)] == [worker] * 20
    [process] = [child for child in multiprocessing.active_children() if child.pid == worker]
    os.kill(worker, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 0
