"""The recipe's model section becomes a network with its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dsft.artifact import ModelDescription, Provenance, build_outline, load_model_folder, read_manifest
from dsft.artifact.hub import HubReference, fetch_model_folder
from dsft.artifact.manifest import MANIFEST_FILE, Manifest
from dsft.assembly.held_out import Training
from dsft.assembly.own_network import InputFormat, build_own, copy_own, with_classes, with_outputs, with_weights
from dsft.choices import ModelSource, Reason, WeightsKind
from dsft.conversion import ConversionPlan
from dsft.errors import CheckpointError, ConversionError, ModelError, PretrainedWeightsError
from dsft.models import Builder, LoadedModel, ModelSpec, head_layers, load_model, replace_head
from dsft.preprocessing import Preprocessing
from dsft.progress import Note, Report
from dsft.recipe import shipped_recipes
from dsft.recipe.sections import ModelSection
from dsft.run_files import is_unfinished, resume_command
from dsft.storage import at_home
from dsft.tasks import CLASSIFICATION, Task, task_named


@dataclass(frozen=True)
class Network:
    """A network with weights, and what is needed to save, feed and describe it.

    Attributes:
        module: The network.
        spec: How to build its architecture again.
        preprocessing: Its evaluation transform.
        classes: Names of its outputs; None where nobody told.
        plan: The conversion that it already went through, or None.
        trainings: What its weights were trained on, as far as a model folder recorded it, the last one last.
        task: What its logits mean.
    """

    module: nn.Module
    spec: ModelSpec
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None
    plan: ConversionPlan | None
    trainings: tuple[Training, ...]
    task: Task = CLASSIFICATION

    @property
    def required_plan(self) -> ConversionPlan:
        """The plan of a network that is known to be converted.

        Raises:
            ConversionError: It is not.
        """
        if self.plan is None:
            raise ConversionError(f"model {self.spec}: expected a converted network, found a dense one.")
        return self.plan

    def describe(
        self, classes: tuple[str, ...] | None, weights: WeightsKind, provenance: Provenance
    ) -> ModelDescription:
        """Return what a model folder records of the network."""
        return ModelDescription(
            spec=self.spec,
            preprocessing=self.preprocessing,
            classes=classes,
            plan=self.plan,
            weights=weights,
            task=self.task.name,
            provenance=provenance,
        )


def load_network(
    section: ModelSection,
    classes: tuple[str, ...],
    image_size: int | None,
    seed: int,
    report: Report,
    task: Task = CLASSIFICATION,
    module: nn.Module | None = None,
) -> Network:
    """Build the network that a run starts from, with one output for each class of the data.

    Args:
        section: The recipe's model section.
        classes: The class table of the data; another head than one of these classes is replaced.
        image_size: Side of the images in pixels; None for what the weights were trained with.
        seed: Seed of whatever weights are drawn.
        report: Receives what was taken from where.
        task: What the data have it learn.
        module: The user's own network, which is copied; None to build what the section names.

    Returns:
        The network; ``classes`` and ``task`` say what its head knew before it was replaced.
    """
    # The network is built on the CPU; other devices' generators are none of its business.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if section.source is ModelSource.DSFT:
            network, is_fixed = _load_named_folder(section), False
        elif section.source is ModelSource.PYTHON:
            loaded = _load_own(section, classes, image_size, report, module)
            network, is_fixed = dataclasses.replace(as_network(loaded), task=task), False
        else:
            loaded = _load_from_library(section, classes, report)
            network, is_fixed = as_network(loaded), loaded.fixed_size
            has_own_head = section.pretrained or (section.checkpoint is not None and section.classes is None)
            # What the libraries publish gives an image one class.
            network = dataclasses.replace(network, task=CLASSIFICATION if has_own_head else task)
        return _for_classes(with_image_size(network, image_size, is_fixed=is_fixed), classes, report)


def load_folder(folder: Path, builder: Builder | None = None) -> Network:
    """Load a model folder, or the one inside a run's folder.

    Args:
        folder: The folder.
        builder: The function that builds the unconverted network, for a folder whose network is the user's own; it is
            not called for any other.

    Raises:
        CheckpointError: There is none, it is damaged, or it does not say how to build its network.
        ModelError: The builder fails.
    """
    folder = find_model_folder(folder)
    skeleton = _skeleton_of(folder, builder)
    # As images are; a network that was saved in half precision loses nothing by it.
    module = load_model_folder(folder, skeleton.module if skeleton is not None else None).module.float()
    return _described(folder, module, skeleton)


def outline_folder(folder: Path, builder: Builder | None = None) -> Network:
    """Build the network of a model folder for its shapes alone, with random weights.

    Args:
        folder: The folder, or a run's.
        builder: See :func:`load_folder`.

    Raises:
        CheckpointError: There is no such folder, its manifest is damaged, or it does not say how to build its network.
        ModelError: The builder fails.
    """
    folder = find_model_folder(folder)
    skeleton = _skeleton_of(folder, builder)
    module = build_outline(read_manifest(folder), skeleton.module if skeleton is not None else None)
    return _described(folder, module, skeleton)


def needs_builder(folder: Path) -> bool:
    """Return whether the network of a model folder was built by the user's own code."""
    source = read_manifest(find_model_folder(folder)).source
    return source is None or source.source is ModelSource.PYTHON


def find_model_folder(folder: Path) -> Path:
    """Return the model folder that is meant: ``folder`` itself, the one inside a run's folder, or one of the hub.

    Args:
        folder: A folder, or ``hf/OWNER/NAME`` where there is no folder of that name.

    Raises:
        CheckpointError: There is no such folder.
        ModelError: It is meant to be on the Hugging Face hub and cannot be had.
    """
    folder = at_home(folder)
    if not folder.exists():
        if (reference := HubReference.parse(str(folder))) is not None:
            return fetch_model_folder(reference)
        raise CheckpointError(f"model folder {str(folder)!r}: there is no such folder.{_how_to_make(folder)}")
    inner = folder / "model"
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if not (inner / MANIFEST_FILE).is_file() and is_unfinished(folder):
        raise CheckpointError(
            f"model folder {str(folder)!r}: the run in it was interrupted before it saved its model. Continue it with "
            f"{resume_command(folder)!r}."
        )
    return inner if (inner / MANIFEST_FILE).is_file() else folder


def _skeleton_of(folder: Path, builder: Builder | None) -> LoadedModel | None:
    """Build the unconverted network of a folder whose network is the user's own, with as many outputs as it has."""
    if builder is None or not needs_builder(folder):
        return None
    manifest = read_manifest(folder)
    # Its random weights are never seen, so they must not advance the caller's random state.
    with torch.random.fork_rng(devices=[]):
        built = build_own(builder, InputFormat(), manifest.preprocessing)
    return built if manifest.source is None else with_outputs(built, manifest.source.num_classes)


def _described(folder: Path, module: nn.Module, skeleton: LoadedModel | None) -> Network:
    manifest = read_manifest(folder)
    spec, preprocessing = manifest.source, manifest.preprocessing
    if skeleton is not None:
        spec, preprocessing = skeleton.spec, skeleton.preprocessing
    if spec is None or preprocessing is None:
        raise CheckpointError(
            f"model folder {str(folder)!r}: does not say how its network is built and which images it takes. Save it "
            "again with preprocessing=..., or load it in Python with dsft.load."
        )
    return Network(
        module=module,
        spec=spec,
        preprocessing=preprocessing,
        classes=manifest.classes,
        plan=manifest.plan,
        trainings=_trainings(manifest),
        task=task_named(manifest.task),
    )


def _trainings(manifest: Manifest) -> tuple[Training, ...]:
    earlier = tuple(Training(**ancestor) for ancestor in manifest.ancestors)
    return earlier if manifest.data is None else (*earlier, Training(manifest.data, manifest.fingerprints))


def _how_to_make(folder: Path) -> str:
    """Name the command that writes a folder, where a shipped recipe does."""
    for recipe in shipped_recipes():
        if recipe.name in folder.parts:
            return f" First run: dsft {recipe.verb} {recipe.name}"
    return " Give a folder that dsft wrote, such as runs/NAME/model."


def as_network(loaded: LoadedModel) -> Network:
    """Return a network that comes from a library or a weights file."""
    return Network(loaded.module, loaded.spec, loaded.preprocessing, loaded.classes, None, ())


def with_image_size(network: Network, image_size: int | None, *, is_fixed: bool) -> Network:
    """Return a network that is fed images of another size; None leaves it as it is.

    Raises:
        ModelError: The architecture takes images of one size only.
    """
    if image_size is None or (image_size, image_size) == network.preprocessing.image_size:
        return network
    if is_fixed:
        raise ModelError(
            f"data.image_size: {network.spec} takes images of {network.preprocessing.image_size[0]} pixels only, "
            f"found {image_size}. Leave the key out, or choose another network."
        )
    resized = dataclasses.replace(network.preprocessing, image_size=(image_size, image_size))
    return dataclasses.replace(network, preprocessing=resized)


def _load_named_folder(section: ModelSection) -> Network:
    folder = Path(section.path or "")
    if section.builder is None:
        return load_folder(folder)
    if not needs_builder(folder):
        raise ModelError(
            f"model.builder {section.builder!r}: the model folder {str(folder)!r} says by itself how its network is "
            "built. Leave the builder out."
        )
    return load_folder(folder, Builder.parse(section.builder))


def _load_own(
    section: ModelSection, classes: tuple[str, ...], image_size: int | None, report: Report, module: nn.Module | None
) -> LoadedModel:
    """Build the network of a recipe's builder, or copy the user's own; load the checkpoint, if there is one."""
    stated = InputFormat(
        image_size,
        section.in_chans,
        tuple(section.mean) if section.mean is not None else None,
        tuple(section.std) if section.std is not None else None,
    )
    name = section.builder or ""
    loaded = build_own(Builder.parse(name), stated) if module is None else copy_own(module, name, stated)
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


def _stated_classes(section: ModelSection, classes: tuple[str, ...]) -> tuple[str, ...] | None:
    if section.classes == "data":
        return classes
    return tuple(section.classes) if section.classes is not None else None


def _for_classes(network: Network, classes: Sequence[str], report: Report) -> Network:
    """Replace the head where it is not one of these classes."""
    is_counted = network.classes is None and network.spec.num_classes == len(classes)
    if network.classes == tuple(classes) or is_counted:
        return network
    loaded = LoadedModel(
        network.module, network.spec, network.preprocessing, network.classes, fixed_size=False, notes=()
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
    """Return the plan of a network that has other classifiers now, dense ones."""
    layers = [
        layer.kept(Reason.NEW_CLASSIFIER) if any(f"{layer.name}.".startswith(f"{head}.") for head in heads) else layer
        for layer in plan.layers
    ]
    return dataclasses.replace(plan, layers=tuple(layers))
