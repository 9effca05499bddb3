"""Networks of model folders and run folders, on this machine or on the hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from dsft.artifact import build_outline, load_model_folder, read_manifest
from dsft.artifact.locate import find_model_folder
from dsft.artifact.manifest import Manifest
from dsft.assembly.held_out import Training
from dsft.assembly.network import Network
from dsft.assembly.own_network import InputFormat, build_own, with_outputs
from dsft.choices import ModelSource
from dsft.errors import CheckpointError
from dsft.models import Builder, LoadedModel
from dsft.tasks import task_named


def load_folder(folder: Path, builder: Builder | None = None) -> Network:
    """Load a model folder, or the one inside a run folder.

    Args:
        folder: The folder.
        builder: The function that builds the unconverted network, for a folder whose network is the user's own; it is
            not called for any other.

    Raises:
        CheckpointError: There is no such folder, it is damaged, or does not record how its network is built.
        ModelError: The builder fails.
    """
    folder = find_model_folder(folder)
    skeleton = _skeleton_of(folder, builder)
    # Images are float32; weights that were saved in half precision are represented exactly.
    module = load_model_folder(folder, skeleton.module if skeleton is not None else None).module.float()
    return _described(folder, module, skeleton)


def outline_folder(folder: Path, builder: Builder | None = None, *, converted: bool = True) -> Network:
    """Build the network of a model folder for its shapes alone, with random weights.

    Args:
        folder: The model or run folder.
        builder: See :func:`load_folder`.
        converted: As it is in the folder, else as it was before its conversion.

    Raises:
        CheckpointError: There is no such folder, its manifest is damaged, or does not record how its network is
            built.
        ModelError: The builder fails.
    """
    folder = find_model_folder(folder)
    skeleton, manifest = _skeleton_of(folder, builder), read_manifest(folder)
    manifest = manifest if converted else dataclasses.replace(manifest, plan=None)
    module = build_outline(manifest, skeleton.module if skeleton is not None else None)
    return _described(folder, module, skeleton)


def needs_builder(folder: Path) -> bool:
    """Return whether the network of a model folder was built by the user's own code."""
    source = read_manifest(find_model_folder(folder)).source
    return source is None or source.source is ModelSource.PYTHON


def _skeleton_of(folder: Path, builder: Builder | None) -> LoadedModel | None:
    """Build the unconverted network of a folder whose network is the user's own, with the same number of outputs."""
    if builder is None or not needs_builder(folder):
        return None
    manifest = read_manifest(folder)
    # Its random weights are overwritten, so the caller's random state must not advance.
    with torch.random.fork_rng(devices=[]):
        built = build_own(builder, InputFormat(), manifest.preprocessing, task_named(manifest.task))
    return built if manifest.source is None else with_outputs(built, manifest.source.num_classes)


def _described(folder: Path, module: nn.Module, skeleton: LoadedModel | None) -> Network:
    manifest = read_manifest(folder)
    spec, preprocessing = manifest.source, manifest.preprocessing
    if skeleton is not None:
        spec, preprocessing = skeleton.spec, skeleton.preprocessing
    if spec is None or preprocessing is None:
        raise CheckpointError(
            f"model folder {str(folder)!r}: does not say how its network is built and which inputs it takes. Save it "
            "again with preprocessing=..., or load it in Python with dsft.load."
        )
    return Network(
        module=module,
        spec=spec,
        preprocessing=preprocessing,
        classes=manifest.classes,
        plan=manifest.plan,
        trainings=_trainings(manifest, folder),
        task=task_named(manifest.task),
    )


def _trainings(manifest: Manifest, folder: Path) -> tuple[Training, ...]:
    earlier = tuple(Training(**ancestor) for ancestor in manifest.ancestors)
    own = () if manifest.data is None else (Training(manifest.data, manifest.fingerprints, folder.parent),)
    return (*earlier, *own)
