"""What a model folder says about its weights."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.choices import TaskName, WeightsKind
from dsft.conversion import ConversionPlan
from dsft.errors import CheckpointError
from dsft.models import ModelSpec
from dsft.preprocessing import Preprocessing

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Manifest:
    """Everything about a model but its tensors.

    Attributes:
        source: How to build the unconverted network; None for one that neither library builds, which is
            given as a skeleton when it is loaded.
        plan: What became of its convolutions; None where it was not converted.
        classes: The class names, in the order of the outputs; None where they are unknown.
        preprocessing: The evaluation transform; None where it is unknown.
        weights: Whether they are a moving average, those of the optimizer, or the mean of several epochs'.
        sha256: Of the weights file, 64 hexadecimal digits.
        fingerprints: Of the splits that trained and chose the weights, by the splits' names.
        data: The recipe's data section, so that the model can be evaluated on it again; None without.
        ancestors: ``fingerprints`` and ``data`` of each earlier training that the weights, or a teacher of
            theirs, went through: images that are not held out from this model either.
        versions: Of the packages that wrote the folder.
        task: What the outputs mean.
        format_version: Of the folder.
    """

    source: ModelSpec | None
    plan: ConversionPlan | None
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    weights: WeightsKind
    sha256: str
    fingerprints: Mapping[str, str]
    data: Mapping[str, Any] | None
    versions: Mapping[str, str]
    ancestors: tuple[Mapping[str, Any], ...] = ()
    task: TaskName = TaskName.CLASSIFICATION
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        return {
            "format_version": self.format_version,
            "source": self.source and self.source.to_dict(),
            "plan": self.plan and self.plan.to_dict(),
            "classes": self.classes and list(self.classes),
            "preprocessing": self.preprocessing and self.preprocessing.to_dict(),
            "weights": self.weights.value,
            "sha256": self.sha256,
            "fingerprints": dict(self.fingerprints),
            "data": self.data and dict(self.data),
            "versions": dict(self.versions),
            "ancestors": [dict(ancestor) for ancestor in self.ancestors],
            "task": self.task.value,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """Rebuild the manifest that :meth:`to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: ``values`` is not such a manifest.
        """
        # Folders that were written before ancestors and the task were kept have none.
        values = {"ancestors": (), "task": TaskName.CLASSIFICATION, **values}
        names = {field.name for field in dataclasses.fields(cls)}
        if names != set(values):
            raise ValueError(f"missing or unknown fields: {', '.join(sorted(names ^ set(values)))}")
        read: dict[str, Callable[[Any], Any]] = {
            "source": ModelSpec.from_dict,
            "plan": ConversionPlan.from_dict,
            "classes": tuple,
            "ancestors": tuple,
            "preprocessing": Preprocessing.from_dict,
            "weights": WeightsKind,
            "task": TaskName,
        }
        parsed = {name: read[name](values[name]) for name in read if values[name] is not None}
        return cls(**{**values, **parsed})


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a model computes."""
    return {name: importlib.metadata.version(name) for name in ("dsft", "torch", "torchvision", "timm")}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model folder.

    Raises:
        CheckpointError: The folder is missing, was not written by dsft, is damaged, or is of a newer format.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise CheckpointError(f"model folder {str(folder)!r}: {_what_is_there(folder)}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"model folder {str(folder)!r}: is of format {version!r}; this version of dsft reads format "
                f"{FORMAT_VERSION}. Upgrade dsft."
            )
        return Manifest.from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{str(path)!r}: is damaged ({type(error).__name__}: {error}). Restore the file, or save the model again."
        ) from error


def _what_is_there(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder. Give a folder that dsft wrote, such as runs/NAME/model."
    if not folder.is_dir():
        return "a folder that dsft wrote is needed, found a file."
    if (folder / "model" / MANIFEST_FILE).is_file():
        return f"has no {MANIFEST_FILE}. Did you mean {str(folder / 'model')!r}?"
    return f"was not written by dsft: it has no {MANIFEST_FILE}."
