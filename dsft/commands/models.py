"""``dsft models``: list networks, show one, and push model folders to the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dsft.artifact import Manifest, read_manifest
from dsft.artifact.hub import push_model_folder
from dsft.artifact.locate import find_model_folder
from dsft.assembly import Source
from dsft.commands import inspect
from dsft.errors import ModelError, did_you_mean
from dsft.models import list_networks


@dataclass(frozen=True)
class ModelFacts:
    """What is known about a network.

    Attributes:
        source: The network as it was named.
        inspected: Its layers and costs.
        manifest: The manifest of a model folder; None for a library's network.
    """

    source: str
    inspected: inspect.InspectResult
    manifest: Manifest | None

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values, without the layers."""
        inspection = self.inspected.inspection
        return {
            "source": self.source,
            "network": self.inspected.model,
            "image_size": list(self.inspected.image_size),
            "params": inspection.params,
            "macs": inspection.macs,
            "manifest": self.manifest.to_dict() if self.manifest is not None else None,
        }


def listing(pattern: str, *, published: bool) -> tuple[str, ...]:
    """Return the libraries' networks whose name matches a pattern, with or without ``LIBRARY/``.

    Args:
        pattern: Such as ``resnet*`` or ``timm/resnet*``; a plain word matches anywhere in the name.
        published: Only networks with published weights, with the tags of the weights.

    Raises:
        ModelError: None matches.
    """
    known = list_networks(published=published)
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = tuple(name for name in known if any(fnmatchcase(part, wanted) for part in (name, name.partition("/")[2])))
    if not found:
        names = dict.fromkeys(name.partition("/")[2] for name in known)
        raise ModelError(f"models: no network is named {pattern!r}.{did_you_mean(pattern, names)}")
    return found


def show(source: str, builder: str | None = None) -> ModelFacts:
    """Return what is known about a network or a model folder; only ``hf/OWNER/NAME`` is downloaded.

    Raises:
        InputError: There is no such network or folder, or it is damaged.
    """
    inspected = inspect.run(Source(source, builder=builder))
    is_library = Source(source).in_library is not None
    manifest = None if is_library else read_manifest(find_model_folder(Path(source)))
    return ModelFacts(source, inspected, manifest)


def push(model: Path, repository: str, *, private: bool, message: str | None) -> str:
    """Push a model folder to the Hugging Face hub and return the URL of the commit.

    Raises:
        CheckpointError: The folder is missing or damaged.
        ModelError: The hub refuses, or cannot be reached.
    """
    folder = find_model_folder(model)
    return push_model_folder(folder, repository, private=private, message=message or f"Add {model.name} with dsft")
