"""The manifest of a model folder: everything about a model except its tensors."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsft.choices import TaskName, WeightsKind
from dsft.conversion import ConversionPlan
from dsft.conversion.plan import LayerPlan
from dsft.errors import CheckpointError
from dsft.models import ModelSpec
from dsft.preprocessing import (
    ClipPreprocessing,
    InputPreprocessing,
    Preprocessing,
    SignalPreprocessing,
    preprocessing_type,
    read_preprocessing,
)

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Provenance:
    """Which images trained and selected the weights.

    Attributes:
        fingerprints: Fingerprint of each split that trained or selected the weights, by split name.
        data: The recipe's data section, from which the splits can be drawn again; None if unknown.
        ancestors: ``fingerprints`` and ``data`` of every earlier training of the weights or of a teacher. Their
            images are not held out from this model either.
    """

    fingerprints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    ancestors: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class ModelDescription:
    """What is known about a model when it is saved.

    Attributes:
        spec: How to build the unconverted network; None for a network that neither timm nor torchvision builds.
        preprocessing: The evaluation transform; None if unknown.
        classes: Class names in the order of the outputs; None if unknown.
        plan: The conversion plan; None if the network was not converted.
        weights: Whether the weights are a moving average, those of the last step, or the mean of several epochs.
        task: What the outputs mean.
        provenance: Which images trained and selected the weights.
    """

    spec: ModelSpec | None = None
    preprocessing: InputPreprocessing | None = None
    classes: tuple[str, ...] | None = None
    plan: ConversionPlan | None = None
    weights: WeightsKind = WeightsKind.RAW
    task: TaskName = TaskName.CLASSIFICATION
    provenance: Provenance = Provenance()


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``.

    Attributes:
        source: How to build the unconverted network; None for a network that neither timm nor torchvision builds,
            which must be given as a skeleton when the folder is loaded.
        plan: The conversion plan; None if the network was not converted.
        classes: Class names in the order of the outputs; None if unknown.
        preprocessing: The evaluation transform; None if unknown.
        weights: Whether the weights are a moving average, those of the last step, or the mean of several epochs.
        sha256: SHA-256 of the weights file, 64 hexadecimal digits.
        fingerprints: See :class:`Provenance`, as for ``data`` and ``ancestors``.
        data: The recipe's data section.
        versions: Versions of the packages that wrote the folder.
        ancestors: Earlier trainings.
        task: What the outputs mean.
        format_version: Version of the folder format.
    """

    source: ModelSpec | None
    plan: ConversionPlan | None
    classes: tuple[str, ...] | None
    preprocessing: InputPreprocessing | None
    weights: WeightsKind
    sha256: str
    fingerprints: Mapping[str, str]
    data: Mapping[str, Any] | None
    versions: Mapping[str, str]
    ancestors: tuple[Mapping[str, Any], ...] = ()
    task: TaskName = TaskName.CLASSIFICATION
    format_version: int = FORMAT_VERSION

    @classmethod
    def describe(cls, description: ModelDescription, sha256: str) -> Manifest:
        """Return the manifest of a model whose weights file has this SHA-256."""
        provenance = description.provenance
        return cls(
            source=description.spec,
            plan=description.plan,
            classes=description.classes,
            preprocessing=description.preprocessing,
            weights=description.weights,
            sha256=sha256,
            fingerprints=provenance.fingerprints,
            data=provenance.data,
            versions=installed_versions(),
            ancestors=tuple(provenance.ancestors),
            task=description.task,
        )

    def without_local_paths(self) -> Manifest:
        """Return the manifest as it is published: data sets keep their names but not their folders on this machine."""
        ancestors = tuple(
            {**ancestor, "data": without_root(ancestor["data"])} if ancestor.get("data") else ancestor
            for ancestor in self.ancestors
        )
        return dataclasses.replace(self, data=self.data and without_root(self.data), ancestors=ancestors)

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
        # Early folders of format 1 have neither ancestors nor a task.
        values = {"ancestors": (), "task": TaskName.CLASSIFICATION, **values}
        names = {field.name for field in dataclasses.fields(cls)}
        if names != set(values):
            raise ValueError(f"missing or unknown fields: {', '.join(sorted(names ^ set(values)))}")
        read: dict[str, Callable[[Any], Any]] = {
            "source": ModelSpec.from_dict,
            "plan": ConversionPlan.from_dict,
            "classes": tuple,
            "ancestors": tuple,
            "preprocessing": read_preprocessing,
            "weights": WeightsKind,
            "task": TaskName,
        }
        parsed = {name: read[name](values[name]) for name in read if values[name] is not None}
        return cls(**{**values, **parsed})


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that determine what a model computes."""
    return {name: importlib.metadata.version(name) for name in ("dsft", "torch", "torchvision", "timm")}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model folder.

    Raises:
        CheckpointError: The folder is missing, was not written by dsft, is damaged, or was written by a newer version.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise CheckpointError(f"model folder {str(folder)!r}: {_describe_missing(folder)}")
    values: Any = None
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
        raise CheckpointError(_explain_unreadable(path, values, error)) from error


def without_root(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data section without the folder of the user's machine, to be published."""
    return {**data, "root": None} if "root" in data else dict(data)


def _explain_unreadable(path: Path, values: Any, error: Exception) -> str:
    """Say whether a manifest is damaged, or was written by a newer version of dsft."""
    unknown = list(_unknown_fields(values)) if isinstance(values, Mapping) else []
    versions = values.get("versions") if isinstance(values, Mapping) else None
    writer = str(versions.get("dsft", "")) if isinstance(versions, Mapping) else ""
    installed = importlib.metadata.version("dsft")
    if unknown or _release(writer) > _release(installed):
        found = f"unknown fields: {', '.join(unknown)}" if unknown else f"{type(error).__name__}: {error}"
        return (
            f"model folder {str(path.parent)!r}: was written by a newer dsft ({writer or 'version not recorded'}) than "
            f"the installed one ({installed}), which cannot read its {path.name} ({found}). Upgrade dsft."
        )
    return f"{str(path)!r}: is damaged ({type(error).__name__}: {error}). Restore the file, or save the model again."


def _unknown_fields(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted names of the fields that this version does not know."""
    parts: dict[str, type[Any]] = {
        "source": ModelSpec,
        "preprocessing": _preprocessing_type(values.get("preprocessing")),
        "plan": ConversionPlan,
    }
    yield from _extra_fields(values, Manifest)
    for name, kind in parts.items():
        yield from (f"{name}.{field}" for field in _extra_fields(values.get(name), kind))
    plan = values.get("plan")
    layers = plan.get("layers") if isinstance(plan, Mapping) else None
    if isinstance(layers, list) and layers:
        yield from (f"plan.layers.{field}" for field in _extra_fields(layers[0], LayerPlan))


def _preprocessing_type(values: object) -> type[InputPreprocessing]:
    """Return the class of a stored evaluation transform; that of images if its kind is unknown."""
    try:
        return preprocessing_type(values if isinstance(values, Mapping) else {})
    except ValueError:
        return Preprocessing


_STORED_FIELDS: dict[type[Any], set[str]] = {
    ConversionPlan: {"version"},
    LayerPlan: {"order"},
    SignalPreprocessing: {"kind"},
    ClipPreprocessing: {"kind"},
}
"""Stored fields besides the attributes: the version of a plan, what version 1 had in place of ``structure``, and the
kind of input."""


def _extra_fields(values: object, kind: type[Any]) -> list[str]:
    known = {field.name for field in dataclasses.fields(kind)} | _STORED_FIELDS.get(kind, set())
    return [name for name in values if name not in known] if isinstance(values, Mapping) else []


def _release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison: ``1.2.0.dev1`` is ``(1, 2, 0)``."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _describe_missing(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder. Give a folder that dsft wrote, such as runs/NAME/model."
    if not folder.is_dir():
        return "expected a folder that dsft wrote, found a file."
    if (folder / "model" / MANIFEST_FILE).is_file():
        return f"has no {MANIFEST_FILE}. Did you mean {str(folder / 'model')!r}?"
    return f"was not written by dsft: it has no {MANIFEST_FILE}."
