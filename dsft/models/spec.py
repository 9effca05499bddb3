"""What a model is, apart from its weights; and a model with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from dsft.choices import ModelSource
from dsft.preprocessing import Preprocessing


@dataclass(frozen=True)
class ModelSpec:
    """Enough to build the network again, offline and without weights.

    Attributes:
        source: The library that builds it, timm or torchvision; ``python`` for the user's own code, which has to be
            given again.
        name: The library's name of the network; timm's may carry a tag (``resnet18.a1_in1k``). Of the user's own code
            the name of the file and the function, or of the class.
        num_classes: Outputs of the classifier; 0 is a network without one.
        in_chans: Image channels.
        aux_heads: Build the auxiliary classifiers where the architecture has them (torchvision's
            GoogLeNet and Inception v3).
    """

    source: ModelSource
    name: str
    num_classes: int
    in_chans: int
    aux_heads: bool = False

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {**asdict(self), "source": self.source.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Rebuild the spec that :meth:`to_dict` returned."""
        return cls(**{**values, "source": ModelSource(values["source"])})


@dataclass(frozen=True)
class LoadedModel:
    """A network with weights and what is known about them.

    Attributes:
        module: The network.
        spec: How to build it again.
        preprocessing: The evaluation transform that goes with the weights.
        classes: The class names of the head, in the order of its outputs; None where they are unknown.
        fixed_size: The network takes no other image size than that of ``preprocessing``.
        notes: Sentences for the user: what was taken from where.
    """

    module: nn.Module
    spec: ModelSpec
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None
    fixed_size: bool
    notes: tuple[str, ...]
