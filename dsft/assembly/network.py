"""The recipe's model section becomes a network with its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dsft.artifact import ModelDescription, Provenance, build_outline, load_model_folder, read_manifest
from dsft.artifact.hub import HubReference, fetch_model_folder
from dsft.artifact.manifest import MANIFEST_FILE, Manifest
from dsft.assembly.held_out import Training
from dsft.choices import ModelSource, Reason, WeightsKind
from dsft.conversion import ConversionPlan
from dsft.errors import CheckpointError, ModelError
from dsft.models import LoadedModel, ModelSpec, head_layers, load_model, replace_head
from dsft.preprocessing import Preprocessing
from dsft.progress import Note, Report
from dsft.recipe import shipped_recipes
from dsft.recipe.sections import ModelSection
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
) -> Network:
    """Build the network that a run starts from, with one output for each class of the data.

    Args:
        section: The recipe's model section.
        classes: The class table of the data; another head than one of these classes is replaced.
        image_size: Side of the images in pixels; None for what the weights were trained with.
        seed: Seed of whatever weights are drawn.
        report: Receives what was taken from where.
        task: What the data have it learn.

    Returns:
        The network; ``classes`` and ``task`` say what its head knew before it was replaced.
    """
    # The network is built on the CPU; other devices' generators are none of its business.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if section.source is ModelSource.DSFT:
            network, is_fixed = load_folder(Path(section.path or "")), False
        else:
            loaded = _load_from_library(section, classes, report)
            network, is_fixed = as_network(loaded), loaded.fixed_size
            has_own_head = section.pretrained or (section.checkpoint is not None and section.classes is None)
            # What the libraries publish gives an image one class.
            network = dataclasses.replace(network, task=CLASSIFICATION if has_own_head else task)
        return _for_classes(with_image_size(network, image_size, is_fixed=is_fixed), classes, report)


def load_folder(folder: Path) -> Network:
    """Load a model folder, or the one inside a run's folder.

    Raises:
        CheckpointError: There is none, it is damaged, or it does not say how to build its network.
    """
    folder = find_model_folder(folder)
    # As images are; a network that was saved in half precision loses nothing by it.
    return _described(folder, lambda _: load_model_folder(folder).module.float())


def outline_folder(folder: Path) -> Network:
    """Build the network of a model folder for its shapes alone, with random weights.

    Raises:
        CheckpointError: There is no such folder, its manifest is damaged, or it does not say how to build its network.
    """
    return _described(find_model_folder(folder), build_outline)


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
    is_run = not (folder / MANIFEST_FILE).is_file() and (inner / MANIFEST_FILE).is_file()
    return inner if is_run else folder


def _described(folder: Path, build: Callable[[Manifest], nn.Module]) -> Network:
    manifest = read_manifest(folder)
    if manifest.source is None or manifest.preprocessing is None:
        raise CheckpointError(
            f"model folder {str(folder)!r}: it holds a module of the user's own, which only Python can build. "
            f"Load it with dsft.load({str(folder)!r}, skeleton=...)."
        )
    return Network(
        module=build(manifest),
        spec=manifest.source,
        preprocessing=manifest.preprocessing,
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


def _load_from_library(section: ModelSection, classes: tuple[str, ...], report: Report) -> LoadedModel:
    has_weights = section.pretrained or section.checkpoint is not None
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
