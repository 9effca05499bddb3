"""Saving a model to a folder, and building it again from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from dsft.artifact.card import model_card
from dsft.artifact.manifest import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Manifest,
    installed_versions,
    read_manifest,
)
from dsft.choices import TaskName, WeightsKind
from dsft.conversion import ConversionPlan, apply_plan, copied
from dsft.errors import CheckpointError
from dsft.models import ModelSpec, build_model, load_weights
from dsft.models.weights import describe_misfit
from dsft.preprocessing import Preprocessing
from dsft.separable import FactoredConv
from dsft.storage import require_replaceable, sha256_of, staged_folder, write_json, write_text


@dataclass(frozen=True)
class Artifact:
    """A model folder in memory: the network in evaluation mode, and its manifest."""

    module: nn.Module
    manifest: Manifest


def save_model(
    folder: Path,
    module: nn.Module,
    *,
    spec: ModelSpec | None,
    preprocessing: Preprocessing | None,
    classes: tuple[str, ...] | None,
    plan: ConversionPlan | None,
    weights: WeightsKind,
    fingerprints: Mapping[str, str],
    data: Mapping[str, Any] | None,
    ancestors: Sequence[Mapping[str, Any]] = (),
    task: TaskName = TaskName.CLASSIFICATION,
    documents: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a model folder, whole or not at all.

    Args:
        folder: The new folder.
        module: The network with its weights, converted by ``plan`` where there is one.
        spec: How to build the unconverted network; None for one that neither library builds.
        preprocessing: The evaluation transform, or None.
        classes: The class names in the order of the outputs, or None.
        plan: What became of the convolutions, or None.
        weights: Which weights these are.
        fingerprints: Of the splits that trained and chose the weights, by name.
        data: The recipe's data section, or None.
        ancestors: Fingerprints and data of earlier trainings, see :class:`Manifest`.
        task: What the outputs mean.
        documents: Further JSON files that go into the folder, by name.
        overwrite: Replace what the folder holds.

    Raises:
        OutputError: The folder is not empty, and ``overwrite`` is off or it is no model folder.
        CheckpointError: The module is not what ``spec`` and ``plan`` build, or holds more than tensors.
    """
    require_replaceable(folder, "model folder", (MANIFEST_FILE,), overwrite=overwrite)
    _check_plan(module, plan)
    tensors = _plain_tensors(module)
    _check_classes(classes, spec)
    if spec is not None and (misfit := describe_misfit(_outline(spec, plan), tensors)):
        raise CheckpointError(f"the model is not what {spec} and its plan build. {misfit}")
    with staged_folder(folder) as staged:
        path = staged / WEIGHTS_FILE
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
        manifest = Manifest(
            source=spec,
            plan=plan,
            classes=classes,
            preprocessing=preprocessing,
            weights=weights,
            sha256=sha256_of(path),
            fingerprints=fingerprints,
            data=data,
            versions=installed_versions(),
            ancestors=tuple(ancestors),
            task=task,
        )
        for name, document in {**(documents or {}), MANIFEST_FILE: manifest.to_dict()}.items():
            write_json(staged / name, document)
        write_text(staged / "README.md", model_card(manifest))
    return manifest


def load_model_folder(folder: Path, skeleton: nn.Module | None = None) -> Artifact:
    """Build the model of a folder; needs neither a network connection nor the original weights.

    Args:
        folder: A folder that :func:`save_model` wrote.
        skeleton: The unconverted network, for models that neither library builds; it is left as it is.

    Raises:
        CheckpointError: The folder is missing, foreign, damaged, of a newer format, or needs a skeleton.
        ConversionError: The skeleton is another network than the plan was made for.
        ModelError: The installed library has no such network.
    """
    manifest = read_manifest(folder)
    path = folder / WEIGHTS_FILE
    check_weights(folder, manifest)
    if skeleton is not None:
        module = copied(skeleton)
    elif manifest.source is not None:
        module = _skeleton(manifest.source)
    else:
        raise CheckpointError(
            f"model folder {str(folder)!r}: the network is none of timm's or torchvision's. Give it, "
            f"unconverted and with any weights: dsft.load({folder.as_posix()!r}, skeleton=YourNetwork())."
        )
    module = _converted(module, manifest.plan)
    state = _read_tensors(path)
    _take_number_formats(module, state)
    load_weights(module, state, f"model folder {str(folder)!r}")
    return Artifact(module.eval(), manifest)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{str(path)!r}: is no file of tensors ({error}). Save the model again.") from error


def build_outline(manifest: Manifest) -> nn.Module:
    """Build the network that a manifest describes, converted and in evaluation mode, with random weights.

    Raises:
        CheckpointError: The manifest does not say how.
        ModelError: The installed library has no such network.
    """
    if manifest.source is None:
        raise CheckpointError("the manifest does not say how to build its network.")
    return _converted(_skeleton(manifest.source), manifest.plan).eval()


def _skeleton(spec: ModelSpec) -> nn.Module:
    # Its random weights are never seen, so they shall not move the caller's random numbers on.
    with torch.random.fork_rng(devices=[]):
        return build_model(spec)


def _outline(spec: ModelSpec, plan: ConversionPlan | None) -> nn.Module:
    """Build what a spec and a plan say, with the names and shapes of its tensors but no values."""
    with torch.device("meta"):
        return _converted(build_model(spec), plan)


def _converted(module: nn.Module, plan: ConversionPlan | None) -> nn.Module:
    return module if plan is None else apply_plan(module, plan)


def _plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Bring the state to the CPU, copied where need be; safetensors takes neither shared memory nor other layouts."""
    state = module.state_dict()
    if odd := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"the model keeps more than tensors in its state, under {', '.join(odd)}.")
    if odd := [key for key, value in state.items() if not _is_dense(value)]:
        raise CheckpointError(
            f"the model keeps tensors without values or of a sparse layout, under {', '.join(odd)}. Load or make its "
            "weights dense before it is saved."
        )
    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for key, value in state.items():
        tensor = value.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return tensors


def _is_dense(tensor: Tensor) -> bool:
    is_empty = isinstance(tensor, UninitializedParameter | UninitializedBuffer) or tensor.is_meta
    return not is_empty and tensor.layout is torch.strided


def _check_plan(module: nn.Module, plan: ConversionPlan | None) -> None:
    """Refuse a module whose separable layers are not those that its plan would build when it is loaded."""
    planned = {alias: layer for layer in (plan.converted if plan else ()) for alias in layer.aliases}
    found = {
        name: part for name, part in module.named_modules(remove_duplicate=False) if isinstance(part, FactoredConv)
    }
    if unplanned := sorted(found.keys() - planned.keys()):
        raise CheckpointError(
            f"the model has separable layers that its plan does not know, such as {unplanned[0]!r}. Give the plan of "
            "its conversion: plan=conversion.plan."
        )
    if dense := sorted(planned.keys() - found.keys()):
        raise CheckpointError(
            f"the plan converts layers that are dense in the model, such as {dense[0]!r}. Give the converted network: "
            "conversion.model."
        )
    for name, layer in planned.items():
        asked, built = ((each.order, each.kernels, each.form) for each in (layer, found[name]))
        if asked != built:
            raise CheckpointError(
                f"layer {name!r}: the plan has another order, other kernels or another form than the model. Give the "
                "plan of its conversion, changed as the layer was."
            )


def _check_classes(classes: tuple[str, ...] | None, spec: ModelSpec | None) -> None:
    if classes is not None and spec is not None and len(classes) != spec.num_classes:
        raise CheckpointError(f"the model has {spec.num_classes} outputs, found {len(classes)} class names for them.")


def check_weights(folder: Path, manifest: Manifest) -> None:
    """Check that the weights file of a folder is the one that its manifest tells of.

    Raises:
        CheckpointError: It is missing, damaged or another.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"model folder {str(path.parent)!r}: {path.name} is missing.")
    found = sha256_of(path)
    if found != manifest.sha256:
        raise CheckpointError(
            f"{str(path)!r}: is damaged or was changed: its sha256 is {found}, the manifest says "
            f"{manifest.sha256}. Restore the file, or save the model again."
        )


def _take_number_formats(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the module's tensors the number formats of a file, so that loading rounds nothing."""
    for key, tensor in module.state_dict(keep_vars=True).items():
        if key in state:
            tensor.data = tensor.data.to(state[key].dtype)
