"""The recipe's sections: every key, its type, its default and what it does.

The descriptions are the recipe reference: ``dsft recipes schema`` and the README are made from them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dsft.choices import (
    Amp,
    BadImages,
    Cache,
    Cost,
    DataSource,
    Form,
    Method,
    ModelSource,
    Order,
    ProgressMode,
    Runtime,
    Sampler,
    SplitName,
    Structure,
    TrackerName,
)

Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know.

    A rule between keys raises a ``ValueError`` whose text begins with the key at fault and a colon; what was
    found there is added where the error is shown.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


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


class BudgetSection(Section):
    """What the converted network may cost, as a share of the whole original network, or lose; one of these."""

    macs: Fraction | None = None
    """Multiply-accumulate operations of one forward pass, 0 to 1."""
    params: Fraction | None = None
    """Parameters, 0 to 1."""
    latency: Fraction | None = None
    """Time of one forward pass, 0 to 1, measured with one thread on the device that trains."""
    max_drop: Annotated[float, Field(ge=0)] | None = None
    """Points of top-1 on val that may be lost, in percent: budgets are tried until the smallest that loses no more is
    found."""
    by: Cost | None = None
    """With `max_drop`: the cost that is made smallest; left out, `macs`."""
    runtime: Runtime = Runtime.EAGER
    """What runs whatever is measured: torch itself (`eager`), or ONNX Runtime."""

    @model_validator(mode="after")
    def _one_cost(self) -> Self:
        costs = [name for name in type(self).model_fields if name not in ("by", "runtime")]
        given = [cost for cost in costs if getattr(self, cost) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of {', '.join(costs)} is needed, found {found}")
        if self.by is not None and self.max_drop is None:
            raise ValueError("by: goes with max_drop, whose cost it names")
        return self


class CalibrationSection(Section):
    """Images of the training split, without labels, that the kept weights are fitted to."""

    images: Annotated[int, Field(ge=0)] = 512
    """How many; they are held in memory. 0 keeps the weights without looking at any data."""


class ConvertSection(Section):
    """Swap convolutions for depthwise-separable ones; without this section the network stays dense."""

    method: Method = Method.AUTO
    """How the new weights are derived: `refit` (fitted layer by layer to what the original network does with the
    calibration images), `svd` (truncated singular value decomposition, without data), `fresh` (random), `auto`
    (`refit` where there are weights to keep)."""
    order: Order = Order.AUTO
    """Which convolution comes first; `auto` chooses for each layer under a budget, and is `dw_pw` with `rank`."""
    structures: Annotated[list[Structure], Field(min_length=1)] = [Structure.DW_PW, Structure.PW_DW]
    """What a convolution may become; with `low_rank` among them one of a single position becomes two such with fewer
    channels between."""
    form: Form = Form.AUTO
    """How an input channel reaches several depthwise kernels; `auto` takes for each layer what measures fastest,
    another form is taken wherever the layer can take it."""
    budget: BudgetSection | None = None
    """What the network may cost afterwards; ranks are spread over its layers to fit. This or `rank`."""
    rank: Annotated[int, Field(ge=1)] | Literal["full"] | None = None
    """Depthwise kernels per input channel (`dw_pw`) or output channel (`pw_dw`), alike in every layer; `full` is
    exact. This or `budget`."""
    include: list[str] = ["*"]
    """Patterns of the layers that may be converted, such as `layer4.*`."""
    exclude: list[str] = []
    """Patterns of the layers that stay dense."""
    calibration: CalibrationSection = CalibrationSection()
    """The images that `refit` looks at."""
    norm_between: bool = False
    """Put a batch normalisation and a ReLU between the two convolutions, for training from scratch; with the method
    `fresh` only."""
    only_faster: bool = False
    """Keep dense what measures no faster."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.budget is None) == (self.rank is None):
            found = (
                "neither. Add budget: {macs: 0.5} or rank: 2"
                if self.budget is None
                else "both. Take one out; on the command line ~convert.budget or ~convert.rank does it"
            )
            raise ValueError(f"exactly one of budget and rank is needed, found {found}")
        if self.method is Method.REFIT and not self.calibration.images:
            raise ValueError("calibration: method refit fits the weights to images, found images: 0; use method svd")
        if self.norm_between and self.method is not Method.FRESH:
            raise ValueError("norm_between: goes with method fresh only, which keeps no weights")
        if self.norm_between and Structure.LOW_RANK in self.structures:
            raise ValueError("norm_between: goes with dw_pw and pw_dw, and not with low_rank among the structures")
        if self.order is not Order.AUTO and str(self.order) not in map(str, self.structures):
            raise ValueError(f"order: {self.order} is none of the structures; add it there, or leave order out")
        return self


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
    image_size: Annotated[int, Field(ge=8)] | None = None
    """Side of the square model input in pixels; left out, what the model was trained with."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    """Images in a batch; `train.grad_accum` batches are a training step. `auto` makes steps of 64 images, in as few
    batches as the memory allows."""
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
    count alike, a map gives them by name (a class left out has 1)."""
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


class AugmentSection(Section):
    """Random changes to the training images; evaluation has none."""

    scale: tuple[Fraction, Fraction] | None = None
    """Random resized crop: smallest and largest share of the image's area, such as `[0.35, 1.0]`."""
    hflip: Share = 0.0
    """Probability of a horizontal flip."""
    auto_augment: str | None = None
    """timm's policy string, such as `rand-m9-mstd0.5-inc1`."""
    color_jitter: Annotated[float, Field(ge=0)] | None = None
    """Strength of brightness, contrast and saturation changes."""
    erase: Share = 0.0
    """Probability of random erasing."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of mixup, which blends two images and their labels; 0 is off, 0.2 to 0.8 is usual."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix, which pastes a box of one image into another; 0 is off, 1 is usual."""
    cutmix_minmax: tuple[Fraction, Fraction] | None = None
    """Smallest and largest side of the box as shares of the image's, such as `[0.2, 0.8]`; instead of `cutmix`."""
    mixup_prob: Fraction = 1.0
    """Probability that images are blended at all."""
    mixup_switch_prob: Share = 0.5
    """Probability of CutMix where mixup is on as well."""
    mixup_mode: Literal["batch", "pair", "elem"] = "batch"
    """What is blended alike: a `batch`, a `pair` of images, or each image (`elem`) by itself."""
    mixup_off_epoch: Annotated[int, Field(ge=1)] | None = None
    """Epochs after which images are no longer blended."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for key in ("scale", "cutmix_minmax"):
            pair = getattr(self, key)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{key}: the smallest share comes first")
        has_cutmix = self.cutmix > 0 or self.cutmix_minmax is not None
        if self.cutmix > 0 and self.cutmix_minmax is not None:
            raise ValueError("cutmix_minmax: goes without cutmix; choose one of the two")
        if not (self.mixup > 0 and has_cutmix):
            self._require_default("mixup_switch_prob", "mixup and cutmix together")
        if not (self.mixup > 0 or has_cutmix):
            for key in ("mixup_prob", "mixup_mode", "mixup_off_epoch"):
                self._require_default(key, "mixup or cutmix")
        return self

    def _require_default(self, key: str, partner: str) -> None:
        if getattr(self, key) != type(self).model_fields[key].default:
            raise ValueError(f"{key}: goes with {partner}, which is off")


class OptimSection(Section):
    """The optimizer."""

    opt: str = "adamw"
    """Any optimizer of timm, such as `sgd`, `adamw`, `lamb`."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate after warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Weight decay; norms and biases have none."""
    momentum: Share = 0.9
    """Momentum, where the optimizer has one."""
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient."""
    layer_decay: Fraction | None = None
    """Factor of the learning rate from a layer to the one before it, such as 0.75; left out, alike everywhere."""
    lr_mult: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Factors of the learning rate by pattern of parameter names, such as `{head: 10, "layer4.*": 0.1}`; of several
    that match, the first counts. `head` and `converted` are words."""
    depthwise_decay: bool = True
    """Whether depthwise kernels have weight decay, as other kernels have."""


class ScheduleSection(Section):
    """The learning rate over time, updated at every step."""

    sched: Literal["cosine", "step", "multistep", "poly", "tanh", "constant"] = "cosine"
    """timm's schedule."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training split."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the rate rises from `warmup_lr`; they count among `epochs`."""
    warmup_lr: Annotated[float, Field(ge=0)] = 1e-6
    """Learning rate at the first step of the warm-up."""
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end."""
    decay_epochs: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] | None = None
    """Epochs between two drops (`step`), or a list of the epochs of the drops (`multistep`)."""
    decay_rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of a drop (`step`, `multistep`)."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: must be under schedule.epochs ({self.epochs})")
        wanted = {"step": float, "multistep": list}.get(self.sched, type(None))
        if not isinstance(self.decay_epochs, wanted):
            rule = {"step": "needs one number", "multistep": "needs a list"}.get(self.sched, "has no drops")
            raise ValueError(f"decay_epochs: sched {self.sched} {rule}")
        return self


class FreezePhase(Section):
    """Until a point in time only some parameters are trained; afterwards the next phase, or all."""

    until: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(ep|it)$", examples=["1ep", "200it"])]
    """End of the phase: `1ep` (epochs) or `200it` (steps), counted from the start."""
    train: Annotated[list[str], Field(min_length=1)]
    """What is trained meanwhile: `head`, `converted`, or patterns of parameter names such as `layer4.*`."""
    gradual: bool = False
    """Let the other layers join in one by one until the end of the phase, those next to the output first."""


class DistillSection(Section):
    """Learn from a teacher beside the labels."""

    teacher: str = "original"
    """`original` (the network before conversion) or a model folder."""
    logits: Share = 0.5
    """Weight of the teacher's logits in the loss; the labels have the rest. With 0 the teacher need not know the
    task."""
    features: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the relative squared distance of every converted layer's output from the teacher's, which is the
    network before conversion or one like it."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Softens both sets of logits."""


class EmaSection(Section):
    """Keep an exponential moving average of the weights; it is what is scored and saved."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Weight of the past at each step."""
    warmup: bool = True
    """Begin with a smaller decay, so that a short run is not held at its start."""


class TrainSection(Section):
    """How the machine is used, and the seed."""

    seed: Seed = 0
    """Seed of the weights, the order of the images and the augmentation."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    amp: Amp = Amp.AUTO
    """Mixed precision: `auto` is bfloat16 on a GPU that has it, else float16 there, and none on a CPU."""
    channels_last: bool = True
    """Store images as height, width, channel: faster for convolutions on most devices."""
    grad_accum: Annotated[int, Field(ge=1)] = 1
    """Batches that are summed up in a training step: the same as a `batch_size` that many times as large, norms over
    the batch apart, in the memory of one batch."""
    grad_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more time, the
    same result."""
    compile: bool = False
    """Train a network compiled by `torch.compile`; what is saved is the plain one."""
    deterministic: bool = False
    """Refuse operations that give another result each time."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.compile and self.grad_checkpointing:
            raise ValueError("compile: goes without grad_checkpointing, since it plans itself what it computes again")
        return self


class EvaluateSection(Section):
    """What is measured, what chooses the best weights, and when to stop."""

    monitor: Literal["val/top1", "val/top5", "val/loss", "val/macro_f1"] = "val/top1"
    """The metric that chooses the best weights; ties keep the earlier."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without a better metric."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """How much better counts as better for `patience`."""
    splits: list[SplitName] = [SplitName.VAL, SplitName.TEST]
    """The splits that the final weights are scored on."""


class OutputSection(Section):
    """Where the results go."""

    dir: str = "runs/${name}"
    """The run's folder."""
    save_every: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(ep|it|min)$", examples=["10min", "200it", "1ep"])] = (
        "10min"
    )
    """How often the state is saved from which `--resume` goes on: minutes, steps or epochs. It is saved as well before
    the first step, after the last, and when a signal (Ctrl-C, SIGTERM, SIGUSR1) asks for it."""


class LogSection(Section):
    """What is shown meanwhile."""

    progress: ProgressMode = ProgressMode.AUTO
    """`rich` (live), `plain` (lines), `off`; `auto` is live on a terminal and plain elsewhere."""
    to: list[TrackerName] = [TrackerName.JSONL]
    """Where the figures of every epoch and the final scores go: `tensorboard` (the run's folder), `wandb` and `mlflow`
    (where their own environment variables say); `jsonl` (`metrics.jsonl`) is always written."""


class Recipe(Section):
    """One fine-tuning or training run."""

    version: Annotated[int, Field(ge=1, le=1, json_schema_extra={"const": 1})]
    """Version of the recipe format."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["quickstart", "run-2.b"])]
    """The run's name; it names the output folder, so it is made of letters, digits, `.`, `_` and `-`."""
    task: Literal["classification"] = "classification"
    """What the network predicts."""
    model: ModelSection
    convert: ConvertSection | None = None
    data: DataSection
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    schedule: ScheduleSection = ScheduleSection()
    freeze: list[FreezePhase] = []
    """Phases in which a part of the network is frozen, in order of `until`."""
    distill: DistillSection | None = None
    ema: EmaSection | None = None
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    output: OutputSection = OutputSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.data.batch_size == "auto" and self.train.grad_accum != 1:
            raise ValueError("train.grad_accum: is chosen where data.batch_size is auto; leave one of the two out")
        return self
