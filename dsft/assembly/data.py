"""The recipe's data section becomes splits and loaders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsft.choices import Cache, DataSource, SplitName
from dsft.data import (
    BatchLoader,
    ImageSource,
    Mixing,
    Split,
    Splits,
    evaluation_transform,
    make_loader,
    make_splits,
    open_csv,
    open_digits,
    open_folder,
    open_hf,
    open_torchvision,
    open_wds,
    training_transform,
    with_cache,
)
from dsft.data.stratify import Fold
from dsft.devices import Compute
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import RecipeError
from dsft.preprocessing import Preprocessing
from dsft.progress import Report
from dsft.recipe import Recipe
from dsft.recipe.sections import AugmentSection, DataSection, ValSection
from dsft.training.batch_size import STEP_IMAGES


@dataclass(frozen=True)
class Loaders:
    """The batches of a run: augmented and shuffled for training, plain for each split that is scored."""

    train: BatchLoader
    evaluation: Mapping[SplitName, BatchLoader]


def open_data(section: DataSection, report: Report) -> Mapping[SplitName, ImageSource]:
    """Open the data set of a section; it may come in one part or in splits of its own."""
    if section.source is DataSource.DIGITS:
        return open_digits()
    root = Path(section.root or "")
    if section.source is DataSource.FOLDER:
        return open_folder(root, report)
    if section.source is DataSource.CSV:
        return open_csv(root, report, separator=section.label_separator)
    if section.source is DataSource.WDS:
        return open_wds(root, report)
    if section.source is DataSource.HF:
        given = Path(section.root) if section.root is not None else None
        return open_hf(section.name, given, download=section.download, report=report)
    return open_torchvision(section.name or "", root, download=section.download, report=report)


def open_splits(section: DataSection, report: Report) -> Splits:
    """Open the data set of a section and split it as the section says."""
    return split_data(section, open_data(section, report), report)


def split_data(section: DataSection, sources: Mapping[SplitName, ImageSource], report: Report) -> Splits:
    """Split an open data set as a section says."""
    return make_splits(
        sources,
        val=_val_share(section.val),
        test=section.test.fraction,
        seed=section.seed,
        report=report,
    )


def _val_share(section: ValSection) -> float | Fold:
    if section.fold is not None and section.folds is not None:
        return Fold(section.fold, section.folds)
    # The section has one of the two.
    return section.fraction or 0.0


def load_batches(
    recipe: Recipe, splits: Splits, preprocessing: Preprocessing, compute: Compute, launch: Launch = SINGLE
) -> Loaders:
    """Build the loaders of a run, for what this process has of it; val is always among them: it chooses the weights."""
    augment = recipe.augment
    _require_boxes(augment, preprocessing)
    splits = _cached(splits, recipe.data.cache, launch.local_count)
    transform = training_transform(
        preprocessing,
        scale=augment.scale,
        hflip=augment.hflip,
        auto_augment=augment.auto_augment,
        color_jitter=augment.color_jitter,
        erase=augment.erase,
    )
    data = recipe.data
    train = make_loader(
        splits.train,
        transform,
        batch_size=_batch_size(data),
        workers=data.workers,
        seed=recipe.train.seed,
        shuffle=True,
        bad_images=data.bad_images,
        pin_memory=compute.device.type == "cuda",
        sampler=data.sampler,
        mixing=Mixing(
            mixup=augment.mixup,
            cutmix=augment.cutmix,
            cutmix_minmax=augment.cutmix_minmax,
            prob=augment.mixup_prob,
            switch_prob=augment.mixup_switch_prob,
            mode=augment.mixup_mode,
            off_epoch=augment.mixup_off_epoch,
        ),
        launch=launch,
    )
    names = dict.fromkeys([SplitName.VAL, *recipe.evaluate.splits])
    return Loaders(train, {name: load_split(splits.get(name), data, preprocessing, compute, launch) for name in names})


def _require_boxes(augment: AugmentSection, preprocessing: Preprocessing) -> None:
    if augment.cutmix_minmax is None:
        return
    low, high = augment.cutmix_minmax
    for side in preprocessing.image_size:
        # timm draws whole pixels, the upper end left out.
        if int(side * low) >= int(side * high):
            raise RecipeError(
                f"augment.cutmix_minmax: between {low:g} and {high:g} of {side} pixels lies no whole number of them. "
                "Set the two further apart."
            )


def _cached(splits: Splits, cache: Cache, sharers: int) -> Splits:
    """Let the splits of a source keep its decoded images together; sources share the memory by their images."""
    sources = {id(split.source): split.source for split in (splits.train, splits.val, splits.test) if split is not None}
    images = sum(len(source.targets) for source in sources.values())
    kept = {
        key: with_cache(source, cache, len(source.targets) / max(images, 1) / sharers)
        for key, source in sources.items()
    }

    def keep(split: Split) -> Split:
        return dataclasses.replace(split, source=kept[id(split.source)])

    test = keep(splits.test) if splits.test is not None else None
    return Splits(splits.classes, keep(splits.train), keep(splits.val), test)


def _batch_size(section: DataSection) -> int:
    # A run settles it before; what only scores keeps no activations and has room for as many.
    return STEP_IMAGES if section.batch_size == "auto" else section.batch_size


def load_split(
    split: Split,
    data: DataSection,
    preprocessing: Preprocessing,
    compute: Compute,
    launch: Launch = SINGLE,
) -> BatchLoader:
    """Build the loader that scores a split: in order, complete, with the evaluation transform.

    Args:
        split: The split.
        data: How its images are read.
        preprocessing: What the network takes.
        compute: Where it runs.
        launch: The place of this process among those that share the split.
    """
    return make_loader(
        split,
        evaluation_transform(preprocessing),
        batch_size=_batch_size(data),
        workers=data.workers,
        seed=data.seed,
        shuffle=False,
        bad_images=data.bad_images,
        pin_memory=compute.device.type == "cuda",
        launch=launch,
    )
