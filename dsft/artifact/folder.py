"""Save a model to a folder, and load it from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from dsft.artifact.card import model_card
from dsft.artifact.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest, ModelDescription, read_manifest
from dsft.artifact.timm_config import TIMM_CONFIG_FILE, timm_config
from dsft.choices import ModelSource
from dsft.conversion import ConversionPlan, copy_network, replay_plan
from dsft.errors import CheckpointError
from dsft.models import ModelSpec, build_model, load_weights
from dsft.models.weights import describe_misfit
from dsft.separable import FactoredConv
from dsft.storage import require_replaceable, sha256_of, staged_folder, write_json, write_text


@dataclass(frozen=True)
class Artifact:
    """A loaded model folder: the network in evaluation mode, and its manifest."""

    module: nn.Module
    manifest: Manifest


def save_model(
    folder: Path,
    module: nn.Module,
    description: ModelDescription,
    *,
    documents: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a model folder atomically: either the whole folder or nothing.

    Args:
        folder: The new folder.
        module: The network with its weights, converted if the description has a plan.
        description: What the manifest records about it.
        documents: Additional JSON files for the folder, by file name.
        overwrite: Replace an earlier model folder.

    Raises:
        OutputError: The folder is not empty, and ``overwrite`` is off or it is not a model folder.
        CheckpointError: The module is not what spec and plan build, or its state holds more than tensors.
    """
    require_replaceable(folder, "model folder", (MANIFEST_FILE,), overwrite=overwrite)
    spec, plan = description.spec, description.plan
    _check_plan(module, plan)
    tensors = _plain_tensors(module)
    _check_classes(description.classes, spec)
    # The user's own code is not run again only to check what it built.
    is_known = spec is not None and spec.source is not ModelSource.PYTHON
    if spec is not None and is_known and (misfit := describe_misfit(_outline(spec, plan), tensors)):
        raise CheckpointError(f"the model is not what {spec} and its plan build. {misfit}")
    with staged_folder(folder) as staged:
        path = staged / WEIGHTS_FILE
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
        manifest = Manifest.describe(description, sha256_of(path))
        config = timm_config(manifest)
        written = {**(documents or {}), **({TIMM_CONFIG_FILE: config} if config else {})}
        for name, document in {**written, MANIFEST_FILE: manifest.to_dict()}.items():
            write_json(staged / name, document)
        write_text(staged / "README.md", model_card(manifest))
    return manifest


def load_model_folder(folder: Path, skeleton: nn.Module | None = None) -> Artifact:
    """Load the model of a folder, without internet access and without the original weights.

    Args:
        folder: A folder that :func:`save_model` wrote.
        skeleton: The unconverted network, required for networks that neither library builds; it is not modified.

    Raises:
        CheckpointError: The folder is missing, damaged, of a newer version, was not written by dsft, or needs a
            skeleton.
        ConversionError: The plan was made for another network than the skeleton.
        ModelError: The installed library has no such network.
    """
    manifest = read_manifest(folder)
    path = folder / WEIGHTS_FILE
    check_weights(folder, manifest)
    if skeleton is not None:
        module = copy_network(skeleton)
    elif manifest.source is not None and manifest.source.source is not ModelSource.PYTHON:
        module = _skeleton(manifest.source)
    else:
        raise CheckpointError(_needs_code(folder, manifest))
    module = _converted(module, manifest.plan)
    state = _read_tensors(path)
    _take_dtypes(module, state)
    load_weights(module, state, f"model folder {str(folder)!r}")
    return Artifact(module.eval(), manifest)


def _needs_code(folder: Path, manifest: Manifest) -> str:
    """Say how a network that only the user's own code can build is given."""
    origin = "your own code" if manifest.source is None else f"your own code ({manifest.source.name})"
    return (
        f"model folder {str(folder)!r}: the network was built by {origin}, which dsft runs only where it is named. On "
        "the command line add --builder FILE:FUNCTION, in a recipe model.builder; in Python "
        f"dsft.load({folder.as_posix()!r}, skeleton=YourNetwork()), unconverted and with any weights."
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{str(path)!r}: is not a safetensors file ({error}). Save the model again.") from error


def build_outline(manifest: Manifest, skeleton: nn.Module | None = None) -> nn.Module:
    """Build the network that a manifest describes, converted and in evaluation mode, with random weights.

    Args:
        manifest: Of a model folder.
        skeleton: The unconverted network, for models that neither library builds; it is left unchanged.

    Raises:
        CheckpointError: The manifest does not record how to build the network.
        ModelError: The installed library has no such network.
    """
    if skeleton is not None:
        return _converted(copy_network(skeleton), manifest.plan).eval()
    if manifest.source is None:
        raise CheckpointError("the manifest does not record how to build its network.")
    return _converted(_skeleton(manifest.source), manifest.plan).eval()


def _skeleton(spec: ModelSpec) -> nn.Module:
    # Its random weights are overwritten, so the caller's random state must not advance.
    with torch.random.fork_rng(devices=[]):
        return build_model(spec)


def _outline(spec: ModelSpec, plan: ConversionPlan | None) -> nn.Module:
    """Build the network of a spec and a plan on the meta device: names and shapes, but no values."""
    with torch.device("meta"):
        return _converted(build_model(spec), plan)


def _converted(module: nn.Module, plan: ConversionPlan | None) -> nn.Module:
    return module if plan is None else replay_plan(module, plan)


def _plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state on the CPU; tensors that share memory are copied, since safetensors refuses them."""
    state = module.state_dict()
    if odd := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"the model's state holds more than tensors, under {', '.join(odd)}.")
    if odd := [key for key, value in state.items() if not _is_dense(value)]:
        raise CheckpointError(
            f"the model's state holds tensors without values or with a sparse layout, under {', '.join(odd)}. Load its "
            "weights, or make them dense, before saving."
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
    """Check that the module's separable layers are those that its plan builds on loading."""
    planned = {alias: layer for layer in (plan.converted if plan else ()) for alias in layer.aliases}
    found = {
        name: part for name, part in module.named_modules(remove_duplicate=False) if isinstance(part, FactoredConv)
    }
    if unplanned := sorted(found.keys() - planned.keys()):
        raise CheckpointError(
            f"the model has separable layers that are not in its plan, such as {unplanned[0]!r}. Pass the plan of its "
            "conversion: plan=conversion.plan."
        )
    if dense := sorted(planned.keys() - found.keys()):
        raise CheckpointError(
            f"the plan converts layers that are dense in the model, such as {dense[0]!r}. Pass the converted network: "
            "conversion.model."
        )
    for name, layer in planned.items():
        asked, built = ((each.structure, each.kernels, each.form) for each in (layer, found[name]))
        if asked != built:
            raise CheckpointError(
                f"layer {name!r}: structure, kernels or form differ between the plan and the model. Pass the plan of "
                "its conversion, updated if the layer was changed afterwards."
            )


def _check_classes(classes: tuple[str, ...] | None, spec: ModelSpec | None) -> None:
    if classes is not None and spec is not None and len(classes) != spec.num_classes:
        raise CheckpointError(f"the model has {spec.num_classes} outputs, found {len(classes)} class names for them.")


def check_weights(folder: Path, manifest: Manifest) -> None:
    """Check the weights file of a folder against the SHA-256 in its manifest.

    Raises:
        CheckpointError: The file is missing or differs.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"model folder {str(path.parent)!r}: {path.name} is missing.")
    found = sha256_of(path)
    if found != manifest.sha256:
        raise CheckpointError(
            f"{str(path)!r}: is damaged or was changed: its SHA-256 is {found}, the manifest says "
            f"{manifest.sha256}. Restore the file, or save the model again."
        )


def _take_dtypes(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Cast the module's tensors to the dtypes of the file, so that loading does not round."""
    for key, tensor in module.state_dict(keep_vars=True).items():
        if key in state:
            tensor.data = tensor.data.to(state[key].dtype)
