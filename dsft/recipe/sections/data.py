"""``data``: the images, their splits and their batches."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dsft.choices import BadImages, Cache, DataSource, MaskLayout, Sampler
from dsft.recipe.data_sources import DATA_SOURCES, SOURCE_KEYS, sources_with
from dsft.recipe.sections.base import OpenShare, Section, Seed
from dsft.recipe.sections.clip import ClipSection
from dsft.recipe.sections.signal import SignalSection
from dsft.recipe.sections.text import TextSection


class HeldOutSection(Section):
    """Size of a held-out split that the data set does not define itself."""

    fraction: OpenShare
    """Fraction of the images, stratified by class."""


class ValSection(Section):
    """Size of the validation split if the data set does not define one itself."""

    fraction: OpenShare | None = None
    """Fraction of the images, stratified by class. Either this, or `fold` and `folds`."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Index of the fold to validate on, counted from 0; the other `folds` are trained on."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Number of stratified folds for cross-validation, into which the images outside of test are divided."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fold is None) != (self.folds is None):
            raise ValueError("fold: fold and folds are given together, as in {fold: 0, folds: 5}")
        if (self.fraction is None) == (self.fold is None):
            found = "neither" if self.fraction is None else "both; on the command line, ~data.val.fraction removes it"
            raise ValueError(f"fraction: exactly one of fraction and fold is needed, found {found}")
        if self.fold is not None and self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: must be less than folds ({self.folds})")
        return self


class DegradeSection(Section):
    """How clean images become inputs of a network that restores them; drawn anew for each epoch and image."""

    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of Gaussian noise, for pixels from 0 to 255."""
    downscale: Annotated[int, Field(ge=1)] = 1
    """Factor by which images are reduced and enlarged again with a bicubic filter."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.noise and self.downscale == 1:
            raise ValueError("noise: a degradation needs noise or downscale")
        return self


class GroupsSection(Section):
    """Groups of files, such as the recordings of a speaker; those that are held out are the test split.

    They are left out of the other splits, and files of the data set's own test split that belong to other groups are
    not used.
    """

    pattern: str
    """A regular expression that is searched for in the name of a file; its first group in parentheses is the name of
    the group, as in `"^([a-z]+)_"`."""
    held_out: Annotated[list[str], Field(min_length=1)]
    """Names of the groups that are held out."""

    @field_validator("pattern")
    @classmethod
    def _has_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from error
        if not groups:
            raise ValueError("must have a group in parentheses, which is the name of the group")
        return pattern


class DataSection(Section):
    """The images or other examples, their splits, and how they are loaded."""

    source: DataSource
    """`digits` (scikit-learn's 1,797 images, installed with dsft), `folder` (one folder per class), `csv` (a table with
    the columns `path`, `label` and optionally `split`), `torchvision` (one of its data sets), `hf` (a Hugging Face data
    set), `wds` (webdataset shards), `masks` (folders `images` and `masks`, for task `segmentation`), `pairs` (folders
    `input` and `target`, or clean images with `degrade`, for task `restoration`), `coco`, `voc` or `yolo` (boxes in the
    format of COCO, Pascal VOC or YOLO, for task `detection`), `scenes` (digits on a canvas, installed with dsft; `name`
    is the task), `audio` (sound files, one folder per class, or a table as for `csv`), `arrays` (signals in NumPy
    files), `tones` (artificial sounds, made by dsft), `frames` (videos as folders of images, one folder per class),
    `video` (video files, one folder per class), `moving_digits` (artificial videos, made by dsft), `solids` (artificial
    volumes with the class of each voxel, made by dsft, for task `segmentation`), `volumes` (NIfTI or NumPy files, one
    folder per class, or a table as for `csv`; or for task `segmentation` folders `images` and `masks`) or `text` (a
    table with the columns `text`, `label` and optionally `split`, or a folder with `train.csv` and optionally `val.csv`
    and `test.csv`)."""
    root: str | None = None
    """The folder of the images (`folder`), sounds (`audio`), videos (`frames`, `video`) or shards (`wds`), the table
    (`csv`, `text`, `audio`; its paths are relative to it), the file `.npz` with arrays `x` and `y` or a folder with
    `train.npz` (`arrays`), the output of `save_to_disk` (`hf`), or the folder where the data set is stored
    (`torchvision`; `hf` with `name`)."""
    name: str | None = None
    """Name of the data set, such as `CIFAR10` (`torchvision`), or its name on the hub (`hf`, with `download`)."""
    download: bool = False
    """Download the data set if it is missing (`torchvision`, `hf`)."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """Separator between the labels of an example in the column `label` (`csv`, `text`), such as `";"`; an empty value
    is an example without labels. For task `multi_label`."""
    class_names: list[str] | str | None = None
    """Names of the classes in the order of their indices, or a text file with one per line. By default those of the
    `layout`, or the file `classes.txt` in `root` (`masks`, `volumes` with masks); those that occur (`voc`); or those of
    the YAML file in `root` (`yolo`)."""
    layout: MaskLayout = MaskLayout.FOLDERS
    """Where `masks` and their images are: in `folders` `images` and `masks`, directly or below `train`, `val` and
    `test`; as in Pascal VOC (`voc`: `JPEGImages`, `SegmentationClass` and the lists in `ImageSets/Segmentation`); or as
    in `cityscapes` (`leftImg8bit` and `gtFine` with `_gtFine_labelTrainIds.png`)."""
    ignore_index: Annotated[int, Field(ge=0)] = 255
    """The value of pixels or voxels without a class in masks (`masks`, `volumes`), which count neither in the loss nor
    in the metrics."""
    degrade: DegradeSection | None = None
    """How clean images are degraded, for task `restoration`; left out, the inputs are images of their own (`pairs`)."""
    signal: SignalSection | None = None
    """The input that the network gets of signals (`audio`, `arrays`, `tones`, `volumes`, `solids`)."""
    clip: ClipSection | None = None
    """The input that the network gets of videos (`frames`, `video`, `moving_digits`)."""
    text: TextSection | None = None
    """The input that the network gets of texts (`text`)."""
    groups: GroupsSection | None = None
    """Groups of signals, such as speakers, of which some are the test split (`audio`, `volumes`)."""
    image_size: Annotated[int, Field(ge=8)] | tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = (
        None
    )
    """Side of the square model input in pixels, or `[height, width]`; by default the size that the model was trained
    with."""
    letterbox: bool | None = None
    """Resize images with their aspect ratio kept, and fill the rest of the input with the mean colour, for task
    `detection`; otherwise images are squashed. By default as the weights of a model folder were trained."""
    window_overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Evaluate images in their own size, in windows of `image_size` that overlap by this fraction and whose outputs are
    averaged, for tasks `segmentation` and `restoration`; training takes crops of that size. Of signals and volumes the
    size is `signal.length`. By default as the weights of a model folder were trained, else images are resized to
    `image_size` (`segmentation`) or restored as a whole, `volumes` have an overlap of 0.25, and of other signals the
    centre is evaluated."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    """Images per batch, over all processes; an optimizer step uses `train.grad_accum` batches. `auto` makes steps of
    64 images, in as few batches as fit into the memory of one process."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Worker processes that load images; `auto` is up to 8, depending on the number of cores and images."""
    bad_images: BadImages = BadImages.ERROR
    """Handling of unreadable images or signals: `error` stops the run, `skip` leaves them out and counts them."""
    cache: Cache = Cache.AUTO
    """Cache decoded images in memory that the workers share: `auto` uses up to a quarter of the free memory, `ram` most
    of it, `none` none. Images that do not fit are decoded each time."""
    sampler: Sampler = Sampler.UNIFORM
    """Whether an epoch contains every image once (`uniform`), or every class equally often (`balanced`)."""
    class_weights: Literal["auto"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Class weights in the loss, scaled to a mean of 1 over the images: `auto` balances the classes, a map gives
    weights by class name (default 1). With task `multi_label` they are weights of the positive labels and are not
    scaled: `auto` is the ratio of images without and with the label."""
    val: ValSection = ValSection(fraction=0.1)
    """The split that selects the best weights; a `val` split of the data set itself takes precedence."""
    test: HeldOutSection = HeldOutSection(fraction=0.2)
    """The split for the final evaluation; a `test` split of the data set itself takes precedence."""
    seed: Seed = 0
    """Random seed of the splits."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._require_keys_of_source()
        if self.sampler is Sampler.BALANCED and self.class_weights == "auto":
            raise ValueError("class_weights: auto requires sampler uniform; sampler balanced balances the classes too")
        if self.val.fraction is not None and self.val.fraction + self.test.fraction >= 1:
            found = f"{self.val.fraction} and {self.test.fraction}"
            raise ValueError(f"the sum of val.fraction and test.fraction must be less than 1, found {found}")
        return self

    def _require_keys_of_source(self) -> None:
        """Check that exactly the keys are given that the data source has a use for."""
        traits = DATA_SOURCES[self.source]
        fields = type(self).model_fields
        given = [key for key in SOURCE_KEYS if getattr(self, key) != fields[key].default]
        for key in given:
            if not traits.accepts(key):
                raise ValueError(f"{key}: requires source {sources_with(key)}, and the source is {self.source}")
        for group in traits.needs:
            if not set(given).intersection(group):
                first, *others = group
                choices = [getattr(traits, first), *(f"{key}, {getattr(traits, key)}" for key in others)]
                raise ValueError(f"{first}: source {self.source} needs {', or '.join(choices)}")
