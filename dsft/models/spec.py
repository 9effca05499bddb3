"""The specification of a network without its weights, and a network with weights and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from dsft.choices import ModelSource, TaskName
from dsft.preprocessing import InputPreprocessing


@dataclass(frozen=True)
class ModelSpec:
    """What is needed to rebuild a network, offline and without weights.

    Attributes:
        source: The library that builds it, timm or torchvision; ``python`` for the user's own code, which has to be
            given again.
        name: The library's name of the network; that of timm may include a tag (``resnet18.a1_in1k``). For the user's
            own code the name of the file and the function, or of the class.
        num_classes: Number of outputs; 0 for a network without a classifier.
        in_chans: Number of image channels.
        aux_heads: Whether to build the auxiliary classifiers of torchvision's GoogLeNet and Inception v3.
        config: The configuration of a network of transformers, as JSON; None for other libraries.
    """

    source: ModelSource
    name: str
    num_classes: int
    in_chans: int
    aux_heads: bool = False
    config: str | None = None

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        # Versions of dsft that know no configurations read the folders of other libraries' networks.
        fields = {name: value for name, value in asdict(self).items() if name != "config" or value is not None}
        return {**fields, "source": self.source.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Rebuild the spec that :meth:`to_dict` returned."""
        return cls(**{**values, "source": ModelSource(values["source"])})


@dataclass(frozen=True)
class LoadedModel:
    """A network with weights and their metadata.

    Attributes:
        module: The network.
        spec: How to rebuild it.
        preprocessing: The evaluation transform of the weights.
        classes: The class names in the order of the outputs; None if they are unknown.
        fixed_size: Whether the network requires the image size of ``preprocessing``.
        notes: Messages for the user about the origin of the weights.
        task: What its outputs mean.
    """

    module: nn.Module
    spec: ModelSpec
    preprocessing: InputPreprocessing
    classes: tuple[str, ...] | None
    fixed_size: bool
    notes: tuple[str, ...]
    task: TaskName = TaskName.CLASSIFICATION
