"""``model``: the network, and where its weights come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import ModelSource
from dsft.recipe.sections.base import Section


class ModelSection(Section):
    """The network, and where its weights come from."""

    source: ModelSource
    """The library that builds the network, or `dsft` for a model folder that dsft wrote."""
    name: str | None = None
    """The network's name in timm or torchvision, such as `resnet18`."""
    path: str | None = None
    """The model folder, with `source: dsft`."""
    pretrained: bool = False
    """Download the library's pretrained weights (`timm` and `torchvision`)."""
    checkpoint: str | None = None
    """A local weights file (`.safetensors`, `.pth`, `.pt`) for the network `name`."""
    classes: Literal["data"] | list[str] | None = None
    """The class table that the `checkpoint` was trained on: a list of names, or `data` where it is the data
    set's own."""
    in_chans: Annotated[int, Field(ge=1)] | None = None
    """Image channels; left out, those of the weights, or where they are random those of the images (1 or 3)."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.source is ModelSource.DSFT:
            if self.path is None:
                raise ValueError("path: source dsft needs the model folder, such as runs/digits_dense/model")
            for key in ("name", "checkpoint", "classes", "in_chans"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: does not go with source dsft, whose model folder decides it")
            if self.pretrained:
                raise ValueError("pretrained: does not go with source dsft, whose folder holds the weights")
        elif self.name is None:
            raise ValueError(f"name: source {self.source} needs the network's name, such as resnet18")
        elif self.path is not None:
            raise ValueError("path: goes with source dsft only; a weights file goes under checkpoint")
        if self.pretrained and self.checkpoint is not None:
            raise ValueError("pretrained: goes without checkpoint; choose one of the two")
        if self.classes is not None and self.checkpoint is None:
            raise ValueError("classes: says what a checkpoint was trained on; there is no checkpoint")
        return self
