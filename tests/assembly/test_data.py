from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dsft.assembly import load_batches, load_split, open_data, open_splits, split_data
from dsft.assembly.data import _cached
from dsft.choices import BadImages, Cache, DataSource, SplitName
from dsft.data import Mixing, make_splits
from dsft.data.cache import CachedSource
from dsft.devices import Compute
from dsft.errors import DataError, RecipeError
from dsft.process_memory import free_memory
from dsft.progress import ignore
from dsft.recipe import load_recipe
from dsft.recipe.sections import DataSection, HeldOutSection, ValSection
from tests.data.pictures import model_input
from tests.workshop import CLASSES, Workshop, write_split_pictures

CPU = Compute(torch.device("cpu"))
INPUT = model_input(size=(16, 16))


def test_digits_need_no_folder() -> None:
    sources = open_data(DataSection(source=DataSource.DIGITS), ignore)
    assert list(sources) == [SplitName.TRAIN]
    assert len(sources[SplitName.TRAIN].targets) == 1797


def test_a_folder_comes_with_its_splits(tmp_path: Path) -> None:
    write_split_pictures(tmp_path)
    sources = open_data(DataSection(source=DataSource.FOLDER, root=str(tmp_path)), ignore)
    assert {name: len(source.targets) for name, source in sources.items()} == {"train": 18, "val": 9, "test": 9}


@pytest.mark.parametrize(
    ("name", "message"), [("CIFRA10", "(?i)did you mean cifar10"), ("CIFAR10", r"data\.download=true|download: true")]
)
def test_a_torchvision_data_set_is_known_and_there(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(DataSection(source=DataSource.TORCHVISION, name=name, root=str(tmp_path)), ignore)
    assert list(tmp_path.iterdir()) == []


def test_the_section_says_how_much_is_held_out(workshop: Workshop) -> None:
    section = DataSection(
        source=DataSource.FOLDER,
        root=str(workshop.pictures),
        val=ValSection(fraction=0.25),
        test=HeldOutSection(fraction=0.125),
        seed=3,
    )
    splits = open_splits(section, ignore)
    sources = open_data(section, ignore)
    expected = make_splits(sources, val=0.25, test=0.125, seed=3)
    assert splits.index() == expected.index() == split_data(section, sources, ignore).index()
    assert splits.test is not None
    assert [len(split) for split in (splits.train, splits.val, splits.test)] == [30, 12, 6]


def test_training_images_are_shuffled_and_augmented_and_the_others_are_not(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.dense_recipe), ["augment.hflip=1.0", "data.batch_size=5"])
    splits = open_splits(recipe.data, ignore)
    loaders = load_batches(recipe, splits, INPUT, CPU)
    assert set(loaders.evaluation) == {SplitName.VAL, SplitName.TEST}
    batches = list(loaders.train.epoch(0))
    assert {len(batch.images) for batch in batches[:-1]} == {5}
    order = torch.cat([batch.positions for batch in batches]).tolist()
    assert sorted(order) == list(range(len(splits.train)))
    assert order != sorted(order)
    # With a flip for certain, each image is the mirror of what the evaluation transform makes of it.
    plain: dict[int, torch.Tensor] = {}
    for batch in load_split(splits.train, recipe.data, INPUT, CPU).epoch(0):
        plain.update(zip(batch.positions.tolist(), batch.images, strict=True))
    assert list(plain) == sorted(plain)
    for batch in batches:
        for position, image in zip(batch.positions.tolist(), batch.images, strict=True):
            assert torch.equal(image, plain[position].flip(-1))


def test_val_is_always_loaded_since_it_chooses_the_weights(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.dense_recipe), ["evaluate.splits=[test]"])
    loaders = load_batches(recipe, open_splits(recipe.data, ignore), INPUT, CPU)
    assert list(loaders.evaluation) == [SplitName.VAL, SplitName.TEST]


def test_a_split_that_is_scored_and_missing_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    write_split_pictures(tmp_path, CLASSES)
    for path in sorted((tmp_path / "test").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "test").rmdir()
    changes = [f"data.root={tmp_path.as_posix()}"]
    recipe = load_recipe(str(workshop.dense_recipe), changes)
    splits = open_splits(recipe.data, ignore)
    with pytest.raises(DataError, match=r"there is no test split: .* with evaluate\.splits=\[val\]"):
        load_batches(recipe, splits, INPUT, CPU)
    recipe = load_recipe(str(workshop.dense_recipe), [*changes, "evaluate.splits=[val]"])
    assert list(load_batches(recipe, splits, INPUT, CPU).evaluation) == [SplitName.VAL]


@pytest.mark.parametrize("policy", list(BadImages))
def test_the_policy_for_unreadable_images_holds_everywhere(
    tmp_path: Path, workshop: Workshop, policy: BadImages
) -> None:
    write_split_pictures(tmp_path)
    for split in ("train", "val"):
        (tmp_path / split / "bee" / "001.png").write_bytes(b"")
    changes = [f"data.root={tmp_path.as_posix()}", f"data.bad_images={policy}"]
    recipe = load_recipe(str(workshop.dense_recipe), changes)
    loaders = load_batches(recipe, open_splits(recipe.data, ignore), INPUT, CPU)
    for loader in (loaders.train, loaders.evaluation[SplitName.VAL]):
        if policy is BadImages.ERROR:
            with pytest.raises(DataError, match=r"001\.png' cannot be read"):
                list(loader.epoch(0))
        else:
            assert sum(len(batch.images) for batch in loader.epoch(0)) == len(loader.split) - 1
            assert set(loader.skipped) == {"bee/001.png"}


def test_training_alone_blends_its_images(workshop: Workshop) -> None:
    augment = {"mixup": 0.5, "cutmix": 1.0, "mixup_prob": 0.5, "mixup_switch_prob": 0.25, "mixup_mode": "pair"}
    changes = [f"augment.{key}={value}" for key, value in {**augment, "mixup_off_epoch": 3}.items()]
    recipe = load_recipe(str(workshop.dense_recipe), changes)
    loaders = load_batches(recipe, open_splits(recipe.data, ignore), INPUT, CPU)
    assert loaders.train.mixing == Mixing(0.5, 1.0, None, 0.5, 0.25, "pair", 3)
    assert next(iter(loaders.train.epoch(0))).targets.shape == (8, 3)
    assert next(iter(loaders.evaluation[SplitName.VAL].epoch(0))).targets.dtype == torch.int64


def test_the_sources_of_a_data_set_share_one_cache(tmp_path: Path, workshop: Workshop) -> None:
    write_split_pictures(tmp_path)
    changes = [f"data.root={tmp_path.as_posix()}", "data.cache=auto"]
    recipe = load_recipe(str(workshop.dense_recipe), changes)
    splits = open_splits(recipe.data, ignore)
    images = [len(split) for split in (splits.train, splits.val, splits.test) if split is not None]
    free = free_memory()
    assert free is not None
    cached = _cached(splits, Cache.AUTO, 2)
    held = [split.source for split in (cached.train, cached.val, cached.test) if split is not None]
    capacities = [source.capacity for source in held if isinstance(source, CachedSource)]
    assert sum(capacities) == pytest.approx(free / 8, rel=0.1)
    assert capacities[0] / sum(capacities) == pytest.approx(images[0] / sum(images), rel=0.1)


def test_boxes_that_no_pixels_fit_are_refused(workshop: Workshop) -> None:
    changes = ["augment.cutmix_minmax=[0.2, 0.24]", "evaluate.splits=[val]"]
    recipe = load_recipe(str(workshop.dense_recipe), changes)
    splits = open_splits(recipe.data, ignore)
    with pytest.raises(
        RecipeError, match=r"cutmix_minmax: there is no whole number of pixels between 0\.2 and 0\.24 of 16"
    ):
        load_batches(recipe, splits, INPUT, CPU)
    loaded = load_batches(recipe, splits, model_input(size=(64, 64)), CPU)
    assert loaded.train.mixing is not None
