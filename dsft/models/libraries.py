"""The libraries that build networks, and what each must offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from dsft.choices import ModelSource
from dsft.errors import ModelError, did_you_mean
from dsft.models import timm_library, torchvision_library
from dsft.models.spec import ModelSpec
from dsft.preprocessing import Preprocessing
from dsft.progress import Report


class Library(Protocol):
    """What a module must offer to be a model source."""

    def names(self) -> tuple[str, ...]:
        """Return the networks that it builds."""

    def published(self) -> tuple[str, ...]:
        """Return those with published weights, each with the tag of its weights where there are several."""

    def draft(self, name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
        """Return the spec of a network of 1000 classes and 3 image channels."""

    def build(self, spec: ModelSpec) -> nn.Module:
        """Build a network with random weights."""

    def preprocessing(self, name: str) -> Preprocessing:
        """Return the evaluation transform that goes with a network's weights."""

    def is_fixed_size(self, name: str) -> bool:
        """Return whether the network takes images of one size only."""

    def input_layers(self, module: nn.Module) -> tuple[str, ...]:
        """Return the names of the layers that read the image."""

    def translate(self, state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
        """Rename the tensors of older or original files."""

    def load_pretrained(self, name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
        """Load published weights with their own head: the network, its spec, its class names."""


_LIBRARIES: Mapping[ModelSource, Library] = {
    ModelSource.TIMM: timm_library,
    ModelSource.TORCHVISION: torchvision_library,
}


def build_model(spec: ModelSpec) -> nn.Module:
    """Build the network of a spec with random weights, offline.

    Raises:
        ModelError: The library has no network of that name.
    """
    return library_of(spec.source, spec.name).build(spec)


def list_networks(*, published: bool) -> tuple[str, ...]:
    """Return every network as ``LIBRARY/NAME``, or every one with published weights."""
    return tuple(
        f"{source}/{name}"
        for source, library in _LIBRARIES.items()
        for name in (library.published() if published else dict.fromkeys(n for n in library.names() if "." not in n))
    )


def library_of(source: ModelSource, name: str) -> Library:
    """Return the library of a source, once it is sure that it builds the network ``name``.

    Raises:
        ModelError: It does not, or the source is none of networks.
    """
    if source is ModelSource.PYTHON:
        raise ModelError(
            f"model {source}/{name}: the network was built by your own code, which dsft runs only where it is named. "
            "Name it again: --builder FILE:FUNCTION, model.builder in a recipe, or dsft.load(folder, skeleton=...)."
        )
    if source not in _LIBRARIES:
        known = " or ".join(_LIBRARIES)
        raise ModelError(f"model {source}/{name}: the source of a network is {known}, found {str(source)!r}.")
    library = _LIBRARIES[source]
    if name not in library.names():
        raise ModelError(
            f"model {source}/{name}: {source} has no classification network called {name!r}."
            f"{did_you_mean(name, library.names())}"
        )
    return library
