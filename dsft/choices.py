"""Enumerations of all settings with a fixed set of values."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

LABEL_SEPARATOR = ";"
"""Separator between the labels of an image in output."""

NO_CLASS = 255
"""The class number of pixels and samples without a class."""


Sched = Literal["cosine", "step", "multistep", "poly", "tanh", "constant"]
"""timm's learning-rate schedules."""


class TaskName(StrEnum):
    """What a network predicts for an image: a class, any number of labels, a class per pixel, boxes, or an image."""

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi_label"
    SEGMENTATION = "segmentation"
    DETECTION = "detection"
    RESTORATION = "restoration"


class TargetKind(StrEnum):
    """What a data set has as the ground truth of an image."""

    CLASS = "class"
    LABELS = "labels"
    MASK = "mask"
    BOXES = "boxes"
    IMAGE = "image"

    @property
    def description(self) -> str:
        """The kind in words, for messages."""
        return _TARGET_DESCRIPTIONS[self]


_TARGET_DESCRIPTIONS = {
    TargetKind.CLASS: "one class",
    TargetKind.LABELS: "any number of labels",
    TargetKind.MASK: "a mask with a class for each pixel",
    TargetKind.BOXES: "boxes with a class each",
    TargetKind.IMAGE: "a clean image",
}


class InputKind(StrEnum):
    """What a network takes: an image, a signal (numbers along one or more axes such as sound), a clip, or a text."""

    IMAGE = "image"
    SIGNAL = "signal"
    CLIP = "clip"
    TEXT = "text"

    @property
    def with_article(self) -> str:
        """The word with its article, for messages."""
        return f"an {self}" if self[0] in "aeiou" else f"a {self}"

    @property
    def plural(self) -> str:
        """The word for several, for messages and tables."""
        return f"{self}s"


class ModelSource(StrEnum):
    """Where the model of a recipe comes from."""

    TIMM = "timm"
    TORCHVISION = "torchvision"
    SMP = "smp"
    TRANSFORMERS = "transformers"
    DSFT = "dsft"
    BUILTIN = "builtin"
    PYTHON = "python"


class DataSource(StrEnum):
    """Where the images or signals of a recipe come from."""

    DIGITS = "digits"
    FOLDER = "folder"
    CSV = "csv"
    TORCHVISION = "torchvision"
    HF = "hf"
    WDS = "wds"
    MASKS = "masks"
    PAIRS = "pairs"
    COCO = "coco"
    VOC = "voc"
    YOLO = "yolo"
    SCENES = "scenes"
    AUDIO = "audio"
    ARRAYS = "arrays"
    TONES = "tones"
    FRAMES = "frames"
    VIDEO = "video"
    MOVING_DIGITS = "moving_digits"
    VOLUMES = "volumes"
    SOLIDS = "solids"
    TEXT = "text"


class Start(StrEnum):
    """How a run treats its output folder.

    ``new`` needs an empty or missing folder, ``overwrite`` replaces an earlier run, ``resume`` continues an interrupted
    one, ``dry_run`` runs one training and one evaluation batch and writes nothing.
    """

    NEW = "new"
    OVERWRITE = "overwrite"
    RESUME = "resume"
    DRY_RUN = "dry_run"


class SplitName(StrEnum):
    """The splits of a data set: train fits the weights, val selects them, test is for the final evaluation."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class MaskLayout(StrEnum):
    """Where a data set has its images and masks."""

    FOLDERS = "folders"
    VOC = "voc"
    CITYSCAPES = "cityscapes"


class PixelLoss(StrEnum):
    """The distance between an image and its target: mean absolute, or mean squared difference."""

    L1 = "l1"
    L2 = "l2"


class BadImages(StrEnum):
    """Handling of images, or other inputs, that cannot be read."""

    ERROR = "error"
    SKIP = "skip"


class ExportFormat(StrEnum):
    """What a model is exported to."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    EXECUTORCH = "executorch"
    TORCH_EXPORT = "torch-export"
    SAFETENSORS = "safetensors"


class Dtype(StrEnum):
    """Number format of weights and images in a benchmark."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class PredictionFormat(StrEnum):
    """Output format of predictions."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    COCO = "coco"


class Cache(StrEnum):
    """Whether decoded images are cached in memory."""

    AUTO = "auto"
    RAM = "ram"
    NONE = "none"


class Sampler(StrEnum):
    """Whether a training epoch contains every image or every class equally often."""

    UNIFORM = "uniform"
    BALANCED = "balanced"


AUTO: Final = "auto"
"""Leaves a choice to dsft. It is allowed in settings; plans hold what was chosen in its place."""


class Method(StrEnum):
    """How the weights of a converted layer are derived from the dense kernel."""

    FRESH = "fresh"
    SVD = "svd"
    REFIT = "refit"


class Structure(StrEnum):
    """What a convolution may be replaced by."""

    PW_DW_PW = "pw_dw_pw"
    DW_PW = "dw_pw"
    PW_DW = "pw_dw"
    LOW_RANK = "low_rank"


class Cost(StrEnum):
    """What a budget counts."""

    MACS = "macs"
    PARAMS = "params"
    LATENCY = "latency"


class Runtime(StrEnum):
    """What runs a network; ``dsft.runtimes.RUNTIMES`` has the details."""

    EAGER = "eager"
    COMPILED = "compiled"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    EXECUTORCH = "executorch"


class Form(StrEnum):
    """How an input channel is fed to several depthwise kernels (structure ``dw_pw``)."""

    MULTIPLIER = "multiplier"
    CONCATENATE = "concatenate"
    GATHER = "gather"
    PASSES = "passes"


class Decision(StrEnum):
    """What a plan does with one convolution."""

    CONVERTED = "converted"
    KEPT = "kept"


class Reason(StrEnum):
    """Why a plan converts a convolution or keeps it dense; files hold the codes, people read the messages."""

    BUDGET = "budget"
    RANK = "rank"
    WITHIN_BUDGET = "within_budget"
    EXCLUDED = "excluded"
    NOT_CHEAPER = "not_cheaper"
    NOT_FASTER = "not_faster"
    NO_ALLOWED_STRUCTURE = "no_allowed_structure"
    NOT_RUN = "not_run"
    POINTWISE = "pointwise"
    SINGLE_CHANNEL = "single_channel"
    DEPTHWISE = "depthwise"
    UNSUPPORTED_CONVOLUTION = "unsupported_convolution"
    CUSTOM_CLASS = "custom_class"
    COMPUTED_WEIGHT = "computed_weight"
    UNSUPPORTED_WEIGHT = "unsupported_weight"
    EMPTY = "empty"
    SHARED_WEIGHT = "shared_weight"
    OUTSIDE_MODULE_TREE = "outside_module_tree"
    WEIGHT_READ_OUTSIDE = "weight_read_outside"
    HAS_HOOKS = "has_hooks"
    NEW_CLASSIFIER = "new_classifier"

    @property
    def message(self) -> str:
        """The reason in words, for tables and messages."""
        return _REASON_MESSAGES[self]


_REASON_MESSAGES = {
    Reason.BUDGET: "converted to meet the budget",
    Reason.RANK: "converted to the given rank",
    Reason.WITHIN_BUDGET: "kept: the budget is met without it",
    Reason.EXCLUDED: "not selected by include and exclude",
    Reason.NOT_CHEAPER: "would not become cheaper",
    Reason.NOT_FASTER: "would not become faster",
    Reason.NO_ALLOWED_STRUCTURE: "no allowed structure fits",
    Reason.NOT_RUN: "not run on the example input",
    Reason.POINTWISE: "1x1 kernel",
    Reason.SINGLE_CHANNEL: "one input channel, so nothing to separate",
    Reason.DEPTHWISE: "already depthwise",
    Reason.UNSUPPORTED_CONVOLUTION: "no separable layer for this type",
    Reason.CUSTOM_CLASS: "custom class or forward pass",
    Reason.COMPUTED_WEIGHT: "weight is computed from other parameters",
    Reason.UNSUPPORTED_WEIGHT: "weight is not a plain floating-point tensor",
    Reason.EMPTY: "no channels",
    Reason.SHARED_WEIGHT: "weight is shared with another module",
    Reason.OUTSIDE_MODULE_TREE: "referenced outside the module tree",
    Reason.WEIGHT_READ_OUTSIDE: "weight is read outside the layer",
    Reason.HAS_HOOKS: "has hooks",
    Reason.NEW_CLASSIFIER: "replaced by a new classifier",
}


class Amp(StrEnum):
    """Number format of the forward pass; parameters stay float32."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    NONE = "none"


class ProgressMode(StrEnum):
    """How progress is displayed on standard error."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    OFF = "off"


class TrackerName(StrEnum):
    """Where the metrics of a run are logged."""

    JSONL = "jsonl"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class WeightsKind(StrEnum):
    """The weights in a model folder: the moving average, the raw weights, or the average of several epochs."""

    EMA = "ema"
    RAW = "raw"
    AVERAGE = "average"
