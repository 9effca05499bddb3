"""The SOURCE of a command: a library's network, a model folder, a weights file, or the user's own network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from dsft.artifact.hub import HubReference
from dsft.artifact.locate import how_to_make
from dsft.assembly.model_folder import load_folder, needs_builder, outline_folder
from dsft.assembly.network import Network, as_network, with_image_size
from dsft.assembly.own_network import InputFormat, build_own, with_weights
from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError, PretrainedWeightsError
from dsft.models import Builder, LoadedModel, load_model
from dsft.models.libraries import LIBRARIES
from dsft.preprocessing import ImageSize
from dsft.progress import Note, Report
from dsft.tasks import CLASSIFICATION, Task, task_named

_COMMON = (ModelSource.TIMM, ModelSource.TORCHVISION)
"""Libraries whose networks are often named without the prefix."""


@dataclass(frozen=True)
class Source:
    """A network as the command line names it.

    Attributes:
        name: ``timm/NAME``, ``torchvision/NAME``, a model or run folder, ``hf/OWNER/NAME`` for a model folder on the
            Hugging Face hub, or a weights file; None for the network that ``builder`` returns, with its own weights.
        model: ``timm/NAME`` or ``torchvision/NAME``: the network of a weights file.
        builder: ``FILE:FUNCTION``, which returns the network of a weights file or of a model folder, or the network.
        classes: A file with the class names of the weights, or ``data``; None if they come with the weights.
        image_size: Side of the images in pixels, or height and width; None for the size that the weights were trained
            with.
    """

    name: str | None
    model: str | None = None
    builder: str | None = None
    classes: str | None = None
    image_size: ImageSize | None = None

    @property
    def label(self) -> str:
        """The network as messages name it."""
        return self.name or self.builder or ""

    @property
    def folder(self) -> Path | None:
        """The model or run folder, on this machine or on the hub; None if it is not a folder."""
        if self.name is None:
            return None
        path = Path(self.name)
        is_folder = path.is_dir() or (not path.exists() and HubReference.parse(self.name) is not None)
        return path if is_folder else None

    @property
    def in_library(self) -> tuple[ModelSource, str] | None:
        """Library and name of a library's network; None for any other."""
        if self.name is None or Path(self.name).exists():
            return None
        return _library_and_name(self.name)

    def with_default_image_size(self, image_size: ImageSize | None) -> Source:
        """Return the source with the image size of its data, unless a size is stated or its folder records one."""
        is_open = self.image_size is None and self.folder is None
        return dataclasses.replace(self, image_size=image_size) if is_open else self

    def read_builder(self) -> Builder | None:
        """Return the builder, if one is named.

        Raises:
            ModelError: It is not of the form ``FILE:FUNCTION``.
        """
        return Builder.parse(self.builder) if self.builder is not None else None


def share_builder(source: Source) -> Source:
    """Return a source, one of several that share ``--builder``, without the builder if it needs none."""
    is_needed = source.in_library is None and (source.folder is None or needs_builder(source.folder))
    return source if is_needed else dataclasses.replace(source, builder=None)


def load_source(source: Source, report: Report, task: TaskName | None = None) -> Network:
    """Load a network with its weights.

    Args:
        source: Which network.
        report: Receives where the weights come from.
        task: What the outputs of the user's own network mean, and of weights that fit several tasks; None if unknown.

    Raises:
        ModelError: There is no such source, the builder fails, or a weights file comes without ``model`` and
            ``builder``.
        CheckpointError: A folder or a file is damaged, or does not fit its network.
    """
    _check_options(source)
    builder = source.read_builder()
    if source.folder is not None:
        return with_image_size(load_folder(source.folder, builder), source.image_size, is_fixed=False)
    if builder is not None:
        loaded = _build(builder, source, CLASSIFICATION if task is None else task_named(task))
    elif (named := source.in_library) is not None:
        try:
            loaded = load_model(*named, pretrained=True, report=report)
        except PretrainedWeightsError as error:
            raise error.advise(f"Then give the file in place of {source.name}, with --model {source.name}.") from error
    else:
        path = _weights_file(source)
        loaded = load_model(*_network_of_file(source), checkpoint=path, report=report)
        if task is not None and task_named(task).codec.output_name == task_named(loaded.task).codec.output_name:
            loaded = dataclasses.replace(loaded, task=task)
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
        ModelError: There is no such source, the builder fails, or a weights file comes without ``model`` and
            ``builder``.
        CheckpointError: A folder or a file is damaged, or does not fit its network.
    """
    _check_options(source)
    builder = source.read_builder()
    named = source.in_library
    with torch.device("meta" if meta and builder is None else "cpu"):
        if source.folder is not None:
            return with_image_size(outline_folder(source.folder, builder), source.image_size, is_fixed=False)
        if named is None:
            return load_source(source, report)
        loaded = load_model(*named)
    return with_image_size(as_network(loaded), source.image_size, is_fixed=loaded.fixed_size)


def _build(builder: Builder, source: Source, task: Task) -> LoadedModel:
    """Build the user's own network, with the weights of a file if one is named."""
    loaded = build_own(builder, InputFormat(image_size=source.image_size), task=task)
    return loaded if source.name is None else with_weights(loaded, _weights_file(source), None)


def _check_options(source: Source) -> None:
    """Check that ``--model`` and ``--builder`` can be combined with the source."""
    is_file = source.folder is None and source.in_library is None
    if source.model is not None and not (is_file and source.name is not None and source.builder is None):
        beside = source.builder if is_file and source.builder is not None else source.name
        raise ModelError(f"--model: goes with a weights file, found {source.model!r} beside {beside!r}. Leave it out.")
    if source.builder is None:
        return
    if source.in_library is not None:
        raise ModelError(f"--builder: builds a network of your own, found it beside {source.name!r}. Leave one out.")
    if source.folder is not None and not needs_builder(source.folder):
        raise ModelError(
            f"--builder {source.builder!r}: the model folder {source.name!r} records how its network is built. Leave "
            "the builder out."
        )


def _library_and_name(text: str) -> tuple[ModelSource, str] | None:
    library, _, name = text.partition("/")
    return (ModelSource(library), name) if library in LIBRARIES and name else None


def _weights_file(source: Source) -> Path:
    path = Path(source.name or "")
    if not path.is_file():
        raise ModelError(
            f"source {source.label!r}: expected timm/NAME, torchvision/NAME, a model folder or a weights file, and "
            f"there is no such file or folder.{how_to_make(path)}"
        )
    return path


def _network_of_file(source: Source) -> tuple[ModelSource, str]:
    name = source.model or ""
    named = _library_and_name(name)
    if named is None:
        known = [f"{library}/{name}" for library in _COMMON if LIBRARIES[library].has(name)]
        proposal = f" Did you mean {' or '.join(known)}?" if known else ""
        raise ModelError(
            f"source {source.label!r}: a weights file needs --model timm/NAME or torchvision/NAME, or for a network of "
            f"your own --builder FILE:FUNCTION; found {repr(name) if name else 'neither'}.{proposal}"
        )
    return named
