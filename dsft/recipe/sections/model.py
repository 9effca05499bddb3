"""``model``: the network, and where its weights come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import ModelSource
from dsft.recipe.sections.base import Section


class ModelSection(Section):
    """The network, and where its weights come from."""

    source: ModelSource
    """The library that builds the network, `dsft` for a model folder, or `python` for a function of your own
    (`builder`)."""
    name: str | None = None
    """The network's name in its library, such as `resnet18`, `unet-resnet18` for `smp`,
    or a folder or `OWNER/NAME` of the hub for `transformers`."""
    path: str | None = None
    """The model folder, with `source: dsft`."""
    builder: Annotated[str, Field(pattern=r"^.+:.+$", examples=["net.py:make"])] | None = None
    """`FILE:FUNCTION`: a Python file of your own and a function in it that takes no arguments and returns the network,
    a `torch.nn.Module`; for texts, an argument `num_tokens` gets the number of different tokens. A relative path starts
    in the working directory, or else in the folder of the recipe. Required with `source: python`, and with
    `source: dsft` if the network of the folder was built by one. An attribute `pretrained_cfg` of the network, as
    timm's networks have it (`input_size`, `mean`, `std` ...), determines the preprocessing."""
    pretrained: bool = False
    """Download the library's pretrained weights (`timm`, `torchvision`, `transformers`; with `smp` those of the
    encoder)."""
    checkpoint: str | None = None
    """A local weights file (`.safetensors`, `.pth`, `.pt`) for the network of `name` or `builder`."""
    classes: Literal["data"] | list[str] | None = None
    """The classes that the `checkpoint`, or the network of the `builder`, was trained on: a list of names in the order
    of the outputs, or `data` for the classes of the data set."""
    in_chans: Annotated[int, Field(ge=1)] | None = None
    """Number of image channels. Default: that of the weights, or of the images (1 or 3) if the weights are random; with
    `source: python`, that of the first convolution."""
    mean: Annotated[list[float], Field(min_length=1)] | None = None
    """Mean of each image channel, on the scale 0 to 1, that is subtracted from the images (`source: python`). Default:
    that of `pretrained_cfg`, or of ImageNet."""
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Standard deviation of each image channel, on the scale 0 to 1, that the images are divided by; see `mean`."""

    @property
    def has_weights(self) -> bool:
        """Whether the section names weights. Weights that a builder returns do not count."""
        return self.pretrained or self.checkpoint is not None or self.source is ModelSource.DSFT

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._require_origin()
        if self.pretrained and self.checkpoint is not None:
            raise ValueError("pretrained: cannot be combined with checkpoint; choose one of the two")
        if self.classes is not None and self.checkpoint is None and self.source is not ModelSource.PYTHON:
            raise ValueError("classes: names the classes of a checkpoint, and there is no checkpoint")
        return self

    def _require_origin(self) -> None:
        """Check that the keys that identify the network fit the source."""
        if self.source is ModelSource.DSFT:
            if self.path is None:
                raise ValueError("path: source dsft requires a model folder, such as runs/digits_dense/model")
            self._forbid(
                ("name", "checkpoint", "classes", "in_chans", "mean", "std"), "since the model folder determines it"
            )
            if self.pretrained:
                raise ValueError(
                    "pretrained: cannot be combined with source dsft, since the model folder has the weights"
                )
            return
        if self.path is not None:
            raise ValueError("path: applies to source dsft only; set checkpoint for a weights file")
        if self.source is ModelSource.PYTHON:
            if self.builder is None:
                raise ValueError("builder: source python requires FILE:FUNCTION, such as net.py:make")
            self._forbid(("name",), "since the builder determines it")
            if self.pretrained:
                raise ValueError("pretrained: cannot be combined with source python; set checkpoint for its weights")
            return
        if self.name is None:
            raise ValueError(f"name: source {self.source} requires the name of a network, such as resnet18")
        self._forbid(("builder", "mean", "std"), "since the library determines it; use source python")

    def _forbid(self, keys: tuple[str, ...], reason: str) -> None:
        for key in keys:
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: cannot be combined with source {self.source}, {reason}")
