"""The registry of libraries that build networks, and their interface.

A new library is a module that implements :class:`Library`, one entry in the registry, and its word in
:class:`dsft.choices.ModelSource`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError, did_you_mean
from dsft.models import builtin_library, smp_library, timm_library, torchvision_library, transformers_library
from dsft.models.spec import ModelSpec
from dsft.preprocessing import InputPreprocessing
from dsft.progress import Report


class Library(Protocol):
    """The functions of a module that is a model source."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the networks that the library builds."""

    def has(self, name: str) -> bool:
        """Return whether the library builds a network of that name."""

    def pretrained_names(self) -> tuple[str, ...]:
        """Return the networks with published weights, with the tag of the weights if there are several."""

    def require_pretrained(self, name: str) -> None:
        """Raise a ``ModelError`` if there are no published weights of a network."""

    def unsupported_kind(self, name: str) -> str | None:
        """Return what a name of the library is that dsft does not support, such as ``a segmentation network``."""

    def task_of(self, name: str) -> TaskName:
        """Return the task that a network is built for; classification networks serve multi-label tasks too."""

    def default_spec(self, name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
        """Return the spec of a network with 1000 classes and 3 image channels."""

    def build(self, spec: ModelSpec) -> nn.Module:
        """Build a network with random weights."""

    def preprocessing(self, name: str) -> InputPreprocessing:
        """Return the evaluation transform of a network's published weights."""

    def is_fixed_size(self, name: str) -> bool:
        """Return whether the network requires images of a fixed size."""

    def input_layers(self, module: nn.Module) -> tuple[str, ...]:
        """Return the names of the layers that take the image as their input."""

    def rename_keys(self, state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
        """Convert the keys of a state dict of an older version or of the original authors."""

    def load_pretrained(self, name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
        """Return a network with its published weights and head, its spec, and its class names."""


LIBRARIES: Mapping[ModelSource, Library] = {
    ModelSource.TIMM: timm_library,
    ModelSource.TORCHVISION: torchvision_library,
    ModelSource.SMP: smp_library,
    ModelSource.TRANSFORMERS: transformers_library,
    ModelSource.BUILTIN: builtin_library,
}


def build_model(spec: ModelSpec) -> nn.Module:
    """Build the network of a spec with random weights, offline.

    Raises:
        ModelError: The library has no network of that name.
    """
    return library_of(spec.source, spec.name).build(spec)


def list_networks(*, published: bool) -> tuple[str, ...]:
    """Return all networks, or those with published weights, as ``LIBRARY/NAME``."""
    return tuple(
        f"{source}/{name}"
        for source, library in LIBRARIES.items()
        for name in (
            library.pretrained_names() if published else dict.fromkeys(n for n in library.names() if "." not in n)
        )
    )


def library_of(source: ModelSource, name: str) -> Library:
    """Return the library of a source, after checking that it builds the network ``name``.

    Raises:
        ModelError: It does not, or the source is not a library.
    """
    if source is ModelSource.PYTHON:
        raise ModelError(
            f"model {source}/{name}: the network was built by your own code, which dsft runs only where it is named. "
            "Name it again: --builder FILE:FUNCTION, model.builder in a recipe, or dsft.load(folder, skeleton=...)."
        )
    if source not in LIBRARIES:
        known = " or ".join(LIBRARIES)
        raise ModelError(f"model {source}/{name}: the source must be {known}, found {str(source)!r}.")
    library = LIBRARIES[source]
    if not library.has(name):
        if kind := library.unsupported_kind(name):
            raise ModelError(
                f"model {source}/{name}: this is {kind}, which dsft neither trains nor "
                "evaluates. Convert it in Python with dsft.convert(model, example_input), or name a function that "
                "returns it with --builder FILE:FUNCTION."
            )
        raise ModelError(
            f"model {source}/{name}: {source} has no network called {name!r}.{did_you_mean(name, library.names())}"
        )
    return library
