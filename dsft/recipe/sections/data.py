"""``data``: the images, their splits and their batches."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import BadImages, Cache, DataSource, Sampler
from dsft.recipe.sections.base import OpenShare, Section, Seed


class HeldOutSection(Section):
    """How many images are set aside where the data set has no such split of its own."""

    fraction: OpenShare
    """Share of the images, drawn class by class (stratified)."""


class ValSection(Section):
    """How many images are set aside to choose the weights where the data set has no such split of its own."""

    fraction: OpenShare | None = None
    """Share of the images, drawn class by class (stratified). This, or `fold` and `folds`."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which of the `folds`, counted from 0, it is; the others are trained on."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Parts into which the images that are not in test are divided, class by class, for cross-validation."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fold is None) != (self.folds is None):
            raise ValueError("fold: goes with folds, as in {fold: 0, folds: 5}")
        if (self.fraction is None) == (self.fold is None):
            found = "neither" if self.fraction is None else "both; on the command line ~data.val.fraction takes it out"
            raise ValueError(f"fraction: exactly one of fraction and fold is needed, found {found}")
        if self.fold is not None and self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: must be under folds ({self.folds})")
        return self


_ROOTS = {
    DataSource.FOLDER: "folder",
    DataSource.CSV: "file",
    DataSource.TORCHVISION: "folder",
    DataSource.WDS: "folder of shards",
}


class DataSection(Section):
    """The images, how they are split, and how they are read."""

    source: DataSource
    """`digits` (scikit-learn's 1,797 images, no download), `folder` (one folder a class), `csv` (a table with the
    columns `path`, `label` and maybe `split`), `torchvision`, `hf` (a Hugging Face data set) or `wds` (webdataset's
    shards)."""
    root: str | None = None
    """The folder of the images (`folder`) or shards (`wds`), the table (`csv`; its paths are relative to it), what
    `save_to_disk` wrote (`hf`), or where the data set is kept (`torchvision`; `hf` with a `name`)."""
    name: str | None = None
    """The data set, such as `CIFAR10` (`torchvision`), or its name on the hub (`hf`, with `download`)."""
    download: bool = False
    """Let the data set be downloaded where it is missing (`torchvision`, `hf`)."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between two labels of an image in the column `label` of the table, such as `";"`; the column may be
    empty. With task `multi_label`."""
    image_size: Annotated[int, Field(ge=8)] | None = None
    """Side of the square model input in pixels; left out, what the model was trained with."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    """Images in a batch, of all processes together; `train.grad_accum` batches are a training step. `auto` makes steps
    of 64 images, in as few batches as the memory of one process allows."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Processes that read images; `auto` is up to 8, by the number of cores and of images."""
    bad_images: BadImages = BadImages.ERROR
    """What an unreadable image does: `error` stops the run, `skip` leaves it out and counts it."""
    cache: Cache = Cache.AUTO
    """Keep decoded images in memory, shared by the workers: `auto` in up to a quarter of what is free, `ram` in most
    of it; the rest is decoded each time."""
    sampler: Sampler = Sampler.UNIFORM
    """Whether in an epoch every image (`uniform`) or every class (`balanced`) comes equally often."""
    class_weights: Literal["auto"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Weights of the classes in the loss, scaled so that their mean over the images is 1: `auto` lets every class
    count alike, a map gives them by name (a class left out has 1). With task `multi_label` they weigh the labels that
    are there, and are not scaled: `auto` is images without the label for each one with it."""
    val: ValSection = ValSection(fraction=0.1)
    """The split that chooses the best weights; a `val` folder or the data set's own split comes first."""
    test: HeldOutSection = HeldOutSection(fraction=0.2)
    """The split that only measures; a `test` folder or the data set's own split comes first."""
    seed: Seed = 0
    """Seed of the split."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._require_origin()
        if self.sampler is Sampler.BALANCED and self.class_weights == "auto":
            raise ValueError("class_weights: goes with sampler uniform; balanced evens the classes out already")
        if self.val.fraction is not None and self.val.fraction + self.test.fraction >= 1:
            held_out = f"{self.val.fraction} and {self.test.fraction}"
            raise ValueError(f"val.fraction and test.fraction must be under 1 together, found {held_out}")
        return self

    def _require_origin(self) -> None:
        """Check that the keys which say where the images are go with the source."""
        if self.source is DataSource.DIGITS:
            for key in ("root", "name"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: does not go with source digits, which is embedded")
        elif self.source is DataSource.HF:
            if self.root is None and self.name is None:
                raise ValueError("root: source hf needs the folder of a saved data set, or name and download: true")
        elif self.root is None:
            raise ValueError(f"root: source {self.source} needs a {_ROOTS[self.source]}")
        if self.source is DataSource.TORCHVISION and self.name is None:
            raise ValueError("name: source torchvision needs the data set's name, such as CIFAR10")
        if self.name is not None and self.source not in (DataSource.TORCHVISION, DataSource.HF):
            raise ValueError("name: goes with source torchvision or hf")
        if self.download and self.source not in (DataSource.TORCHVISION, DataSource.HF):
            raise ValueError("download: goes with source torchvision or hf")
