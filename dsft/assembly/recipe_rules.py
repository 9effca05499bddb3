"""Checks of a recipe against the installed libraries and this machine, without its data and its weights.

``dsft recipes check`` applies them all. :data:`RULES` are errors on every machine. :data:`MACHINE_RULES` depend on the
machine, which need not be the one that will run the recipe.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from dsft.assembly.conversion import read_request
from dsft.assembly.data import require_boxes
from dsft.assembly.inputs import augmenting_transform
from dsft.assembly.recipe_model import require_task
from dsft.assembly.settings import optimizer_settings
from dsft.choices import InputKind
from dsft.data.sources import SOURCES
from dsft.data.transforms import require_channels
from dsft.devices import parse_device, resolve_compute
from dsft.errors import InputError, ModelError
from dsft.models import ModelSpec, library_of, preprocessing_of
from dsft.models.libraries import LIBRARIES
from dsft.preprocessing import InputPreprocessing, Preprocessing, as_height_and_width
from dsft.progress import Report, Warn
from dsft.recipe import Recipe, Rule
from dsft.recipe.data_sources import DATA_SOURCES
from dsft.runtimes.registry import RUNTIMES
from dsft.tasks import task_named
from dsft.tracking import require_tracker
from dsft.training.optim.optimizer import make_optimizer


def _check_network(recipe: Recipe) -> None:
    """Check that the library has the network, for the recipe's task, and its weights if the recipe asks for them."""
    model = recipe.model
    if model.source in LIBRARIES:
        library = library_of(model.source, model.name or "")
        own = task_named(library.task_of(model.name or ""))
        require_task(f"{model.source}/{model.name}", own, task_named(recipe.task))
        if model.pretrained:
            library.require_pretrained(model.name or "")


def _check_channels(recipe: Recipe) -> None:
    if recipe.model.in_chans is not None and _has_images(recipe):
        require_channels(recipe.model.in_chans)


def _check_image_size(recipe: Recipe) -> None:
    """Check that a network with a fixed input size gets images of this size."""
    model, size = recipe.model, recipe.data.image_size
    if size is None or not _is_known(recipe):
        return
    library = LIBRARIES[model.source]
    expected = library.preprocessing(model.name or "").size[0]
    if library.is_fixed_size(model.name or "") and as_height_and_width(size)[0] != expected:
        raise ModelError(f"{model.source}/{model.name} requires images of {expected} pixels, found {size}.")


def _check_data_set(recipe: Recipe) -> None:
    require_name = SOURCES[recipe.data.source].require_name
    if require_name is not None and recipe.data.name is not None:
        require_name(recipe.data.name)


def _check_package(recipe: Recipe) -> None:
    require_package = SOURCES[recipe.data.source].require_package
    if require_package is not None:
        require_package()


def _check_augmentation(recipe: Recipe) -> None:
    if _has_images(recipe):
        augmenting_transform(recipe.augment, _preprocessing(recipe))


def _check_boxes(recipe: Recipe) -> None:
    if _has_images(recipe):
        require_boxes(recipe.augment, _preprocessing(recipe))


def _check_optimizer(recipe: Recipe) -> None:
    """Check that timm creates the optimizer with these settings; the patterns need the network."""
    settings = dataclasses.replace(optimizer_settings(recipe.optim), lr_mult=(), layer_decay=None)
    make_optimizer(nn.Linear(1, 1), settings)


def _check_conversion(recipe: Recipe) -> None:
    if recipe.convert is not None:
        read_request(recipe.convert, recipe.train.seed, is_trained=True)


def _check_runtime(recipe: Recipe) -> None:
    budget = recipe.convert.budget if recipe.convert is not None else None
    if budget is not None:
        RUNTIMES[budget.runtime].require_usable()


def _check_trackers(recipe: Recipe) -> None:
    for name in recipe.log.to:
        require_tracker(name)


def _check_compute(recipe: Recipe) -> None:
    train = recipe.train
    resolve_compute(train.device, train.amp, train.channels_last)


def _has_images(recipe: Recipe) -> bool:
    return DATA_SOURCES[recipe.data.source].inputs is InputKind.IMAGE


def _is_known(recipe: Recipe) -> bool:
    """Return whether the network comes from a library that knows it; :func:`_check_network` reports others."""
    return recipe.model.source in LIBRARIES and LIBRARIES[recipe.model.source].has(recipe.model.name or "")


def _preprocessing(recipe: Recipe) -> InputPreprocessing:
    """Return the input of the network, as far as it is known without its weights."""
    model, size = recipe.model, recipe.data.image_size
    # The rule of in_chans reports any other number.
    channels = model.in_chans if model.in_chans in (1, 3) else 3
    if _is_known(recipe):
        stated: InputPreprocessing = preprocessing_of(
            ModelSpec(model.source, model.name or "", num_classes=1, in_chans=channels)
        )
    else:
        stated = Preprocessing((224, 224), channels, (0.5,) * channels, (0.5,) * channels, "bicubic", 1.0, "center")
    if size is None or not isinstance(stated, Preprocessing):
        return stated
    return dataclasses.replace(stated, image_size=as_height_and_width(size))


RULES: tuple[Rule, ...] = (
    Rule("model.name", _check_network),
    Rule("model.in_chans", _check_channels),
    Rule("data.name", _check_data_set),
    Rule("data.image_size", _check_image_size),
    Rule("augment.auto_augment", _check_augmentation),
    Rule("augment.cutmix_minmax", _check_boxes),
    Rule("convert", _check_conversion),
    Rule("optim.opt", _check_optimizer),
    Rule("train.device", lambda recipe: parse_device(recipe.train.device)),
)
"""What is wrong on every machine; the order is that of the recipe's sections."""

MACHINE_RULES: tuple[Rule, ...] = (
    Rule("convert.budget.runtime", _check_runtime),
    Rule("data.source", _check_package),
    Rule("train.device", _check_compute),
    Rule("log.to", _check_trackers),
)
"""What is wrong on this machine, but need not be on another."""


def warn_about_machine(recipe: Recipe, report: Report) -> None:
    """Report as warnings what this machine lacks to run a recipe."""
    for rule in MACHINE_RULES:
        try:
            rule.check(recipe)
        except InputError as error:
            message = str(error).removeprefix(f"{rule.key}: ").removeprefix(f"{rule.key.rpartition('.')[2]}: ")
            report(Warn(f"{rule.key}: {message}"))
