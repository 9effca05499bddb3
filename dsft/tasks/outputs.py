"""The outputs of a network: the main one, and optionally those of auxiliary heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dsft.errors import ModelError


@dataclass(frozen=True)
class OutputForm:
    """The form of the outputs of a kind of network.

    Attributes:
        network: Name of the kind of network in messages.
        name: Name of an output.
        content: An output with its shape.
        dimensions: The numbers of dimensions that an output may have.
    """

    network: str
    name: str
    content: str
    dimensions: tuple[int, ...]


CLASS_SCORES = OutputForm("a classifier", "logits", "logits (batch, classes)", (2,))


def split_outputs(output: object, form: OutputForm = CLASS_SCORES) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Split the outputs of a network into its main logits and those of its auxiliary heads.

    The outputs are a tensor, or a named tuple (torchvision's GoogLeNet and Inception v3) or dict whose main entry is
    ``logits`` or ``out``; the other entries that are not None are auxiliary. A scalar is none, such as the loss in
    the outputs of transformers' networks.

    Args:
        output: The return value of ``module(images)``.
        form: What the entries have to be.

    Returns:
        The main output, and the auxiliary ones with as many dimensions.

    Raises:
        ModelError: The outputs have another type or shape.
    """
    parts = _parts(output)
    logits = tuple(part for part in parts if isinstance(part, Tensor) and part.ndim in form.dimensions)
    if len(logits) != len(parts):
        raise ModelError(
            f"output of the model: {form.network} must return {form.content} as a tensor, or a named "
            f"tuple or dict with the main entry logits or out; found {_describe(output)}. "
            f"Wrap the model so that its forward method returns the {form.name}."
        )
    return logits[0], logits[1:]


def _parts(output: object) -> list[object]:
    """Return the entries of an output, the main one first."""
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        output = output._asdict()
    if not isinstance(output, Mapping):
        return [output]
    name = "logits" if "logits" in output else "out"
    return [output.get(name), *(value for key, value in output.items() if key != name and _is_head(value))]


def _is_head(entry: object) -> bool:
    is_scalar = isinstance(entry, Tensor) and not entry.ndim
    return entry is not None and not is_scalar


def _describe(output: object) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        entries = ", ".join(f"{key!r}: {_describe(value)}" for key, value in output.items())
        return f"{type(output).__name__}({entries})"
    return f"an object of type {type(output).__name__}"
