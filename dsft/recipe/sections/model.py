"""``model``: the network, and where its weights come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import ModelSource
from dsft.recipe.sections.base import Section


class ModelSection(Section):
    """The network, and where its weights come from."""

    source: ModelSource
    """The library that builds the network, `dsft` for a model folder that dsft wrote, or `python` for a function of
    your own (`builder`)."""
    name: str | None = None
    """The network's name in timm or torchvision, such as `resnet18`."""
    path: str | None = None
    """The model folder, with `source: dsft`."""
    builder: Annotated[str, Field(pattern=r"^.+:.+$", examples=["net.py:make"])] | None = None
    """`FILE:FUNCTION`: a Python file of your own and a function in it that is called without arguments and returns
    the network, a `torch.nn.Module`. With `source: python`, and with `source: dsft` where a builder made the network
    of that folder. What the network states as timm's networks do in an attribute `pretrained_cfg` (`input_size`,
    `mean`, `std` ...) is followed."""
    pretrained: bool = False
    """Download the library's pretrained weights (`timm` and `torchvision`)."""
    checkpoint: str | None = None
    """A local weights file (`.safetensors`, `.pth`, `.pt`) for the network of `name` or `builder`."""
    classes: Literal["data"] | list[str] | None = None
    """The class table that the `checkpoint`, or the network of the `builder`, was trained on: a list of names, or
    `data` where it is the data set's own."""
    in_chans: Annotated[int, Field(ge=1)] | None = None
    """Image channels; left out, those of the weights, or where they are random those of the images (1 or 3). With
    `source: python` what the network takes; left out, the input channels of its first convolution."""
    mean: Annotated[list[float], Field(min_length=1)] | None = None
    """Mean of each image channel, 0 to 1, that is subtracted for the network of a `builder` (`source: python`); left
    out, what the network states, or that of ImageNet."""
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Standard deviation of each image channel, 0 to 1, likewise."""

    @property
    def has_weights(self) -> bool:
        """Whether the section names weights; those that a builder's own network has do not count."""
        return self.pretrained or self.checkpoint is not None or self.source is ModelSource.DSFT

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._require_origin()
        if self.pretrained and self.checkpoint is not None:
            raise ValueError("pretrained: goes without checkpoint; choose one of the two")
        if self.classes is not None and self.checkpoint is None and self.source is not ModelSource.PYTHON:
            raise ValueError("classes: says what a checkpoint was trained on; there is no checkpoint")
        return self

    def _require_origin(self) -> None:
        """Check that the keys which say where the network comes from go with the source."""
        if self.source is ModelSource.DSFT:
            if self.path is None:
                raise ValueError("path: source dsft needs the model folder, such as runs/digits_dense/model")
            self._forbid(("name", "checkpoint", "classes", "in_chans", "mean", "std"), "whose model folder decides it")
            if self.pretrained:
                raise ValueError("pretrained: does not go with source dsft, whose folder holds the weights")
            return
        if self.path is not None:
            raise ValueError("path: goes with source dsft only; a weights file goes under checkpoint")
        if self.source is ModelSource.PYTHON:
            if self.builder is None:
                raise ValueError("builder: source python needs FILE:FUNCTION, such as net.py:make")
            self._forbid(("name",), "whose builder decides it")
            if self.pretrained:
                raise ValueError("pretrained: does not go with source python; its weights go under checkpoint")
            return
        if self.name is None:
            raise ValueError(f"name: source {self.source} needs the network's name, such as resnet18")
        self._forbid(("builder", "mean", "std"), "which decides it; source python takes it")

    def _forbid(self, keys: tuple[str, ...], reason: str) -> None:
        for key in keys:
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: does not go with source {self.source}, {reason}")
