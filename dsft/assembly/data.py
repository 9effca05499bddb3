"""Build splits and data loaders from the recipe's section ``data``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsft.assembly.inputs import INPUT_RULES, augmenting_transform, require_kind
from dsft.choices import Cache, SplitName, TargetKind
from dsft.data import (
    BatchLoader,
    JointTransform,
    LoaderSettings,
    Mixing,
    Source,
    Split,
    Splits,
    Transform,
    Windows,
    make_loader,
    make_splits,
    with_cache,
)
from dsft.data.sources import DataLocation, Groups, open_source
from dsft.data.stratify import Fold
from dsft.devices import Compute
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import RecipeError
from dsft.preprocessing import InputPreprocessing
from dsft.progress import Report, ignore
from dsft.recipe import Recipe
from dsft.recipe.sections import AugmentSection, DataSection, ValSection
from dsft.training.batch_size import STEP_IMAGES


@dataclass(frozen=True)
class Loaders:
    """The data loaders of a run: augmented and shuffled for training, and one for each evaluated split."""

    train: BatchLoader
    evaluation: Mapping[SplitName, BatchLoader]


def open_data(section: DataSection, report: Report) -> Mapping[SplitName, Source]:
    """Open the data set of a section; return the splits that it defines."""
    location = DataLocation(
        section.source,
        root=Path(section.root) if section.root is not None else None,
        name=section.name,
        download=section.download,
        label_separator=section.label_separator,
        class_names=section.class_names,
        ignore_index=section.ignore_index,
        layout=section.layout,
        is_clean=section.degrade is not None,
        groups=Groups(section.groups.pattern, section.groups.held_out) if section.groups is not None else None,
    )
    return open_source(location, report)


def open_splits(section: DataSection, report: Report) -> Splits:
    """Open the data set of a section and create its splits."""
    return split_data(section, open_data(section, report), report)


def split_data(section: DataSection, sources: Mapping[SplitName, Source], report: Report) -> Splits:
    """Create the splits of an open data set."""
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
    # The section requires exactly one of fold and fraction.
    return section.fraction or 0.0


def load_batches(
    recipe: Recipe,
    splits: Splits,
    preprocessing: InputPreprocessing,
    compute: Compute,
    launch: Launch = SINGLE,
    report: Report = ignore,
) -> Loaders:
    """Build the data loaders of a run, for the part of the data that this process has.

    Args:
        recipe: The recipe of the run.
        splits: The splits; val always gets a loader, since it selects the weights.
        preprocessing: The input that the network expects.
        compute: Device of the network.
        launch: Rank and number of the processes that share the run.
        report: Receives a warning if the requested cache is impossible.

    Raises:
        RecipeError: The augmentation is invalid for these images.
    """
    augment = recipe.augment
    require_boxes(augment, preprocessing)
    splits = _cached(splits, recipe.data.cache, launch.local_count, report)
    data = recipe.data
    transform = training_transform_of(splits.train, data, augment, preprocessing)
    train = make_loader(
        splits.train,
        transform,
        _loader_settings(data, recipe.train.seed, compute),
        shuffle=True,
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


def training_transform_of(
    split: Split, data: DataSection, augment: AugmentSection, preprocessing: InputPreprocessing
) -> Transform | JointTransform:
    """Return the transform of training examples, together with their ground truth where that has places in them.

    Raises:
        RecipeError: The augmentation is invalid for these images.
    """
    require_kind(split, preprocessing)
    if not split.has_places:
        return augmenting_transform(augment, preprocessing)
    return INPUT_RULES[preprocessing.kind].join(split, data, preprocessing, augment, False)


def evaluation_transform_of(
    split: Split, data: DataSection, preprocessing: InputPreprocessing, *, full_size: bool
) -> Transform | JointTransform:
    """Return the transform of evaluated examples, together with their ground truth where that has places in them."""
    require_kind(split, preprocessing)
    if not split.has_places:
        return split.input_type.evaluation_transform(preprocessing)
    return INPUT_RULES[preprocessing.kind].join(split, data, preprocessing, None, full_size)


def require_boxes(augment: AugmentSection, preprocessing: InputPreprocessing) -> None:
    """Check that the range of CutMix's boxes contains a whole number of pixels.

    Raises:
        RecipeError: It does not.
    """
    if augment.cutmix_minmax is None:
        return
    low, high = augment.cutmix_minmax
    for side in preprocessing.size:
        # timm draws an integer from a half-open range.
        if int(side * low) >= int(side * high):
            raise RecipeError(
                f"augment.cutmix_minmax: there is no whole number of pixels between {low:g} and {high:g} of {side}. "
                "Use a wider range."
            )


def _cached(splits: Splits, cache: Cache, processes: int, report: Report = ignore) -> Splits:
    """Add a cache to each source, which its splits share; the memory is divided by the numbers of images."""
    sources = {id(split.source): split.source for split in (splits.train, splits.val, splits.test) if split is not None}
    images = sum(len(source.targets) for source in sources.values())
    kept = {
        key: with_cache(source, cache, len(source.targets) / max(images, 1) / processes, report)
        for key, source in sources.items()
    }

    def keep(split: Split) -> Split:
        return dataclasses.replace(split, source=kept[id(split.source)])

    test = keep(splits.test) if splits.test is not None else None
    return Splits(splits.classes, keep(splits.train), keep(splits.val), test)


def load_split(
    split: Split,
    data: DataSection,
    preprocessing: InputPreprocessing,
    compute: Compute,
    launch: Launch = SINGLE,
    *,
    full_size: bool = True,
) -> BatchLoader:
    """Build a loader for evaluation: all images of a split, in order, with the evaluation transform.

    Args:
        split: The split.
        data: The settings of the loader.
        preprocessing: The input that the network expects.
        compute: Device of the network.
        launch: Rank and number of the processes that share the split.
        full_size: Take whole images, one per batch since their sizes differ, instead of the centre of the input's size,
            where images are restored or the network runs in windows. Other images always have the input's size.
    """
    settings = _loader_settings(data, data.seed, compute)
    windows = Windows.of(preprocessing, settings.batch_size)
    if full_size and (windows is not None or split.target_kind is TargetKind.IMAGE):
        settings = dataclasses.replace(settings, batch_size=launch.count, windows=windows)
    return make_loader(
        split,
        evaluation_transform_of(split, data, preprocessing, full_size=full_size),
        settings,
        shuffle=False,
        launch=launch,
    )


def _loader_settings(section: DataSection, seed: int, compute: Compute) -> LoaderSettings:
    # A training run has replaced auto before. Evaluation stores no activations, so these fit into memory.
    batch_size = STEP_IMAGES if section.batch_size == "auto" else section.batch_size
    return LoaderSettings(batch_size, section.workers, seed, section.bad_images, compute.device.type == "cuda")
