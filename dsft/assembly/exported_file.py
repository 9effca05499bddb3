"""The JSON file beside an exported file, and finished models: model folders, run folders and exported files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsft.artifact.locate import find_model_folder
from dsft.artifact.manifest import WEIGHTS_FILE, without_root
from dsft.assembly.held_out import Training
from dsft.assembly.model_folder import load_folder
from dsft.assembly.network import Network
from dsft.assembly.source import Source
from dsft.choices import TaskName
from dsft.errors import CheckpointError
from dsft.measure.cost import count_macs, count_parameters
from dsft.models import ModelSpec
from dsft.preprocessing import read_preprocessing
from dsft.runtimes import SCORED_SUFFIXES, ExportedNetwork
from dsft.storage import at_home, sha256_of
from dsft.tasks import task_named


def load_finished(model: Source) -> Network:
    """Load a model folder, a run folder or an exported file.

    Args:
        model: Its path, and the builder of a folder whose network is the user's own.

    Raises:
        CheckpointError: There is no such folder or file, or it is damaged.
        ModelError: The builder fails, or the file's runtime is not usable or cannot run the file.
    """
    path = at_home(model.label)
    if is_exported(path):
        return _load_file(path)
    if path.is_file():
        raise CheckpointError(
            f"model {model.label!r}: expected a model folder, a run folder or an exported file with the suffix "
            f"{', '.join(SCORED_SUFFIXES)}, found another file. Give the folder whose weights are in it."
        )
    return load_folder(path, model.read_builder())


def is_exported(path: Path) -> bool:
    """Return whether a path is that of a file that a runtime runs."""
    return path.suffix.lower() in SCORED_SUFFIXES and not path.is_dir()


def stored_bytes(path: Path) -> int:
    """Return the size of the weights of a model folder, or of an exported file."""
    path = at_home(path)
    if is_exported(path):
        _, file_format = SCORED_SUFFIXES[path.suffix.lower()]
        return sum(file.stat().st_size for file in file_format.files(path))
    return (find_model_folder(path) / WEIGHTS_FILE).stat().st_size


def description_of(path: Path) -> Path:
    """Return the path of the JSON file beside an exported file."""
    return path.with_name(f"{path.name}.json")


def describe_network(network: Network, example: Any) -> dict[str, Any]:
    """Return what the JSON file records so that the exported file can be evaluated: the network and its trainings.

    Folders of the user's machine are left out, since exported files are published.

    Args:
        network: The network.
        example: One preprocessed image ``(1, channels, height, width)``, on which multiply-accumulates are counted.
    """
    return {
        "spec": network.spec.to_dict(),
        "trainings": [{**each.to_dict(), "data": without_root(each.data)} for each in network.trainings],
        "costs": {"params": count_parameters(network.module), "macs": count_macs(network.module, example)},
    }


def checksums(files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file of an exported network, by the suffix of the file."""
    return {file.suffix: sha256_of(file) for file in files}


def _load_file(path: Path) -> Network:
    values = _read_description(path)
    _, file_format = SCORED_SUFFIXES[path.suffix.lower()]
    if checksums(file_format.files(path)) != values["checksums"]:
        raise CheckpointError(
            f"exported file {str(path)!r}: differs from what {description_of(path).name} describes, so it is damaged "
            "or was replaced. Export the model again."
        )
    return Network(
        module=ExportedNetwork(path, **values["costs"]),
        spec=ModelSpec.from_dict(values["spec"]),
        preprocessing=read_preprocessing(_known(values["preprocessing"])),
        classes=tuple(values["classes"]) if values["classes"] is not None else None,
        plan=None,
        trainings=tuple(Training(**each) for each in values["trainings"]),
        task=task_named(TaskName(values["task"])),
    )


def _known(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    # The steps say the same for programs without timm.
    return {key: value for key, value in preprocessing.items() if key != "steps"}


def _read_description(path: Path) -> dict[str, Any]:
    description = description_of(path)
    _, file_format = SCORED_SUFFIXES[path.suffix.lower()]
    _require_files([*file_format.files(path), description])
    try:
        values = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"description {str(description)!r}: is damaged ({error}). Export again.") from error
    needed = ("spec", "preprocessing", "classes", "task", "trainings", "costs", "checksums")
    if missing := [key for key in needed if not isinstance(values, dict) or key not in values]:
        raise CheckpointError(
            f"description {str(description)!r}: does not say {', '.join(missing)}. Export the model again with this "
            "version of dsft."
        )
    return dict(values)


def _require_files(files: Sequence[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise CheckpointError(
                f"exported file {str(files[0])!r}: {str(file)!r} is missing. dsft export MODEL --out "
                f"{files[0].name} writes {' and '.join(each.name for each in files)}."
            )
