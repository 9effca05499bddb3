"""The recipe's model section becomes a network with its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dsft.assembly.inputs import DataInput
from dsft.assembly.model_folder import load_folder, needs_builder
from dsft.assembly.network import Network, as_network, with_image_size
from dsft.assembly.own_network import InputFormat, build_own, copy_own, with_classes, with_outputs, with_weights
from dsft.choices import ModelSource, Reason
from dsft.conversion import ConversionPlan
from dsft.errors import ModelError, PretrainedWeightsError
from dsft.models import Builder, LoadedModel, head_layers, library_of, load_model, replace_head
from dsft.preprocessing import ImageSize, InputPreprocessing
from dsft.progress import Note, Report
from dsft.recipe.sections import ModelSection
from dsft.storage import at_home
from dsft.tasks import CLASSIFICATION, Task, task_named


def load_network(
    section: ModelSection,
    classes: tuple[str, ...],
    image_size: ImageSize | None,
    seed: int,
    report: Report,
    task: Task = CLASSIFICATION,
    module: nn.Module | None = None,
    inputs: DataInput | None = None,
) -> Network:
    """Build the network that a run starts from, with one output for each class of the data.

    Args:
        section: The recipe's model section.
        classes: The class table of the data; a head for other classes is replaced.
        image_size: Side of the images in pixels; None for the size that the weights were trained with.
        seed: Seed of random weights.
        report: Receives where the weights come from.
        task: The task of the data.
        module: The user's own network, which is copied; None to build what the section names.
        inputs: Determines the network's input, where it depends on the data; None for images.

    Returns:
        The network; ``classes`` and ``task`` are those of its head before it was replaced.
    """
    # The network is built on the CPU, so the random states of other devices are not forked.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if section.source is ModelSource.DSFT:
            network, is_fixed = _load_named_folder(section), False
            if inputs is not None:
                adapted = inputs.adapt(network.preprocessing, str(network.spec))
                network = dataclasses.replace(network, preprocessing=adapted)
        elif section.source is ModelSource.PYTHON:
            loaded = _load_own(section, classes, image_size, report, module, task, inputs)
            network, is_fixed = as_network(loaded), False
        else:
            loaded = _load_from_library(section, classes, report)
            if inputs is not None:
                loaded = dataclasses.replace(loaded, preprocessing=_preprocessing(section, loaded, inputs))
            require_task(str(loaded.spec), task_named(loaded.task), task)
            network, is_fixed = as_network(loaded), loaded.fixed_size
            has_own_head = section.pretrained or (section.checkpoint is not None and section.classes is None)
            # Published weights of classification networks give an image one class.
            network = dataclasses.replace(network, task=task_named(loaded.task) if has_own_head else task)
        return _for_classes(with_image_size(network, image_size, is_fixed=is_fixed), classes, report)


def _preprocessing(section: ModelSection, loaded: LoadedModel, inputs: DataInput) -> InputPreprocessing:
    """Return the input of a library's network: that of its published weights, if they are for such data, or a new one.

    A weights file of such a network is taken for fine-tuned published weights.
    """
    has_published = loaded.spec.name in library_of(loaded.spec.source, loaded.spec.name).pretrained_names()
    has_weights = section.pretrained or section.checkpoint is not None
    if has_published and has_weights and loaded.preprocessing.kind is inputs.kind:
        return inputs.adapt(loaded.preprocessing, str(loaded.spec))
    return inputs.fit(loaded.spec.in_chans)


def _load_named_folder(section: ModelSection) -> Network:
    folder = Path(section.path or "")
    if section.builder is None:
        return load_folder(folder)
    if not needs_builder(folder):
        raise ModelError(
            f"model.builder {section.builder!r}: the model folder {str(folder)!r} records how its network is built. "
            "Leave the builder out."
        )
    return load_folder(folder, Builder.parse(section.builder))


def _load_own(
    section: ModelSection,
    classes: tuple[str, ...],
    image_size: ImageSize | None,
    report: Report,
    module: nn.Module | None,
    task: Task,
    inputs: DataInput | None,
) -> LoadedModel:
    """Build the network of a recipe's builder, or copy the user's own; load the checkpoint, if there is one."""
    stated = InputFormat(
        image_size,
        section.in_chans,
        tuple(section.mean) if section.mean is not None else None,
        tuple(section.std) if section.std is not None else None,
        inputs,
    )
    name = section.builder or ""
    loaded = (
        build_own(Builder.parse(name), stated, task=task) if module is None else copy_own(module, name, stated, task)
    )
    named = _stated_classes(section, classes)
    if section.checkpoint is not None:
        loaded = with_weights(loaded, at_home(section.checkpoint), named)
    else:
        loaded = with_classes(loaded, named)
    for note in loaded.notes:
        report(Note(f"model {loaded.spec}: {note}"))
    return loaded


def _load_from_library(section: ModelSection, classes: tuple[str, ...], report: Report) -> LoadedModel:
    has_weights = section.pretrained or section.checkpoint is not None
    try:
        loaded = load_model(
            section.source,
            section.name or "",
            pretrained=section.pretrained,
            checkpoint=at_home(section.checkpoint) if section.checkpoint is not None else None,
            in_chans=section.in_chans,
            classes=_stated_classes(section, classes),
            num_classes=None if has_weights else len(classes),
            report=report,
        )
    except PretrainedWeightsError as error:
        raise error.advise("Then set model.checkpoint=FILE and model.pretrained=false.") from error
    for note in loaded.notes:
        report(Note(f"model {loaded.spec}: {note}"))
    return loaded if has_weights else dataclasses.replace(loaded, classes=classes)


def require_task(name: str, own: Task, task: Task) -> None:
    """Check that a network of a library has the kind of output that a task needs.

    Args:
        name: Library and name of the network, for the message.
        own: The task that it is built for.
        task: The task of the recipe.

    Raises:
        ModelError: It has another.
    """
    if own.codec.output_name != task.codec.output_name:
        raise ModelError(
            f"model {name}: this is a network for {own.name}, and the recipe's task is {task.name}. Choose a network "
            "for that task, or name a function that returns one with model.builder."
        )


def _stated_classes(section: ModelSection, classes: tuple[str, ...]) -> tuple[str, ...] | None:
    if section.classes == "data":
        return classes
    return tuple(section.classes) if section.classes is not None else None


def _for_classes(network: Network, classes: Sequence[str], report: Report) -> Network:
    """Replace the head unless its classes are those of the data."""
    is_counted = network.classes is None and network.spec.num_classes == len(classes)
    if network.classes == tuple(classes) or is_counted:
        return network
    loaded = LoadedModel(
        network.module,
        network.spec,
        network.preprocessing,
        network.classes,
        fixed_size=False,
        notes=(),
        task=network.task.name,
    )
    if network.spec.source is ModelSource.PYTHON:
        replaced = with_outputs(loaded, len(classes))
    else:
        replaced = replace_head(loaded, len(classes), tuple(classes))
    report(
        Note(
            f"model {network.spec}: its head of {network.spec.num_classes} classes is replaced by an untrained "
            f"one for the {len(classes)} classes of the data."
        )
    )
    plan = network.plan and _without_heads(network.plan, tuple(head_layers(replaced.module)))
    return dataclasses.replace(network, module=replaced.module, spec=replaced.spec, plan=plan)


def _without_heads(plan: ConversionPlan, heads: tuple[str, ...]) -> ConversionPlan:
    """Return the plan of a network whose classifiers were replaced by dense ones."""
    layers = [
        layer.kept(Reason.NEW_CLASSIFIER) if any(f"{layer.name}.".startswith(f"{head}.") for head in heads) else layer
        for layer in plan.layers
    ]
    return dataclasses.replace(plan, layers=tuple(layers))
