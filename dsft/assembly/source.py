"""The SOURCE of a command: a library's network, a model folder or a weights file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dsft.artifact.hub import HubReference
from dsft.assembly.network import Network, as_network, load_folder, outline_folder, with_image_size
from dsft.choices import ModelSource
from dsft.errors import ModelError, PretrainedWeightsError
from dsft.models import load_model
from dsft.models.libraries import LIBRARIES
from dsft.progress import Note, Report


@dataclass(frozen=True)
class Source:
    """A network as the command line names it.

    Attributes:
        name: ``timm/NAME``, ``torchvision/NAME``, a model or run folder, ``hf/OWNER/NAME`` for a model folder on the
            Hugging Face hub, or a weights file.
        model: ``timm/NAME`` or ``torchvision/NAME``: the network of a weights file.
        classes: A file with the class names of the weights, or ``data``; None if they come with the weights.
        image_size: Side of the images in pixels; None for the size that the weights were trained with.
    """

    name: str
    model: str | None = None
    classes: str | None = None
    image_size: int | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a model or run folder, on this machine or on the hub."""
        path = Path(self.name)
        return path.is_dir() or (not path.exists() and HubReference.parse(self.name) is not None)

    @property
    def in_library(self) -> tuple[ModelSource, str] | None:
        """Library and name of a library's network; None for folders and files."""
        return None if Path(self.name).exists() else _library_and_name(self.name)


def load_source(source: Source, report: Report) -> Network:
    """Load a network with its weights.

    Args:
        source: Which network.
        report: Receives where the weights come from.

    Raises:
        ModelError: There is no such source, or a weights file comes without ``model``.
        CheckpointError: A folder or a file is damaged, or does not fit its network.
    """
    _check_model(source)
    if source.is_folder:
        return with_image_size(load_folder(Path(source.name)), source.image_size, is_fixed=False)
    if (named := source.in_library) is not None:
        try:
            loaded = load_model(*named, pretrained=True, report=report)
        except PretrainedWeightsError as error:
            raise error.advise(f"Then give the file in place of {source.name}, with --model {source.name}.") from error
    else:
        loaded = load_model(*_network_of_file(source), checkpoint=Path(source.name), report=report)
    for note in loaded.notes:
        report(Note(f"model {loaded.spec}: {note}"))
    return with_image_size(as_network(loaded), source.image_size, is_fixed=loaded.fixed_size)


def outline_source(source: Source, *, meta: bool, report: Report) -> Network:
    """Build a network for its shapes alone: nothing is downloaded, and its weights are random or absent.

    Args:
        source: Which network. A weights file is read, since its tensors determine classes and channels.
        meta: Build it on torch's meta device, where tensors have shapes and no values; weights files are loaded.
        report: Receives where the weights come from.

    Raises:
        ModelError: There is no such source, or a weights file comes without ``model``.
        CheckpointError: A folder or a file is damaged, or does not fit its network.
    """
    _check_model(source)
    with torch.device("meta" if meta else "cpu"):
        if source.is_folder:
            return with_image_size(outline_folder(Path(source.name)), source.image_size, is_fixed=False)
        if (named := source.in_library) is None:
            return load_source(source, report)
        loaded = load_model(*named)
    return with_image_size(as_network(loaded), source.image_size, is_fixed=loaded.fixed_size)


def _check_model(source: Source) -> None:
    if source.model is not None and (source.is_folder or source.in_library is not None):
        raise ModelError(
            f"--model: goes with a weights file, found {source.model!r} beside {source.name!r}. Leave it out."
        )


def _library_and_name(text: str) -> tuple[ModelSource, str] | None:
    library, _, name = text.partition("/")
    return (ModelSource(library), name) if library in LIBRARIES and name else None


def _network_of_file(source: Source) -> tuple[ModelSource, str]:
    if not Path(source.name).is_file():
        raise ModelError(
            f"source {source.name!r}: expected timm/NAME, torchvision/NAME, a model folder or a weights file, and "
            "there is no such file or folder."
        )
    named = _library_and_name(source.model) if source.model is not None else None
    if named is None:
        raise ModelError(
            f"source {source.name!r}: a weights file needs --model timm/NAME or torchvision/NAME, the network that "
            f"it belongs to; found {source.model!r}."
        )
    return named
