"""A SOURCE of the command line becomes a network with weights."""

from __future__ import annotations

from pathlib import Path

import torch

from dsft.artifact.hub import HubReference
from dsft.assembly.network import Network, as_network, load_folder, outline_folder, with_image_size
from dsft.choices import ModelSource
from dsft.errors import ModelError, PretrainedWeightsError
from dsft.models import load_model
from dsft.models.libraries import LIBRARIES
from dsft.progress import Note, Report


def load_source(source: str, model: str | None, image_size: int | None, report: Report) -> Network:
    """Load ``timm/NAME`` or ``torchvision/NAME`` with its published weights, a model folder, or a weights file.

    A model folder may be on the Hugging Face hub: ``hf/OWNER/NAME``.

    Args:
        source: One of these.
        model: ``timm/NAME`` or ``torchvision/NAME``: the network that a weights file belongs to.
        image_size: Side of the images in pixels; None for what the weights were trained with.
        report: Receives what was taken from where.

    Raises:
        ModelError: The source is none of these, or a weights file comes without ``model``.
    """
    path = Path(source)
    named = _library_and_name(source)
    _check_model(source, model)
    if is_folder(source):
        return with_image_size(load_folder(path), image_size, is_fixed=False)
    if named is not None and not path.exists():
        try:
            loaded = load_model(*named, pretrained=True, report=report)
        except PretrainedWeightsError as error:
            raise error.advise(f"Then give the file in place of {source}, with --model {source}.") from error
    else:
        loaded = load_model(*_network_of_file(path, model), checkpoint=path, report=report)
    for note in loaded.notes:
        report(Note(f"model {loaded.spec}: {note}"))
    return with_image_size(as_network(loaded), image_size, is_fixed=loaded.fixed_size)


def outline_source(source: str, model: str | None, image_size: int | None, *, meta: bool, report: Report) -> Network:
    """Build the network of a source for its shapes alone: nothing is downloaded, and weights are random or absent.

    Args:
        source: As :func:`load_source` takes it, or a run's folder. A weights file is read, since it says how many
            classes and channels there are.
        model: ``timm/NAME`` or ``torchvision/NAME``: the network that a weights file belongs to.
        image_size: Side of the images in pixels; None for what the weights were trained with.
        meta: Build it on torch's meta device, where tensors have shapes and no values; not for weights files.
        report: Receives what was taken from where.

    Raises:
        ModelError: The source is none of these, or a weights file comes without ``model``.
    """
    path, named = Path(source), _library_and_name(source)
    _check_model(source, model)
    with torch.device("meta" if meta else "cpu"):
        if is_folder(source):
            return with_image_size(outline_folder(path), image_size, is_fixed=False)
        if named is None or path.exists():
            return load_source(source, model, image_size, report)
        loaded = load_model(*named)
    return with_image_size(as_network(loaded), image_size, is_fixed=loaded.fixed_size)


def _check_model(source: str, model: str | None) -> None:
    is_named = _library_and_name(source) is not None and not Path(source).exists()
    if model is not None and (is_folder(source) or is_named):
        raise ModelError(f"--model: goes with a weights file, found {model!r} beside {source!r}. Leave it out.")


def is_folder(source: str) -> bool:
    """Whether a source is a model folder, here or on the hub."""
    path = Path(source)
    return path.is_dir() or (not path.exists() and HubReference.parse(source) is not None)


def _library_and_name(text: str) -> tuple[ModelSource, str] | None:
    library, _, name = text.partition("/")
    return (ModelSource(library), name) if library in LIBRARIES and name else None


def _network_of_file(path: Path, model: str | None) -> tuple[ModelSource, str]:
    if not path.is_file():
        raise ModelError(
            f"source {str(path)!r}: expected timm/NAME, torchvision/NAME, a model folder or a weights file, and "
            f"there is no such file or folder."
        )
    named = _library_and_name(model) if model is not None else None
    if named is None:
        raise ModelError(
            f"source {str(path)!r}: a weights file needs --model timm/NAME or torchvision/NAME, the network that "
            f"it belongs to; found {model!r}."
        )
    return named
