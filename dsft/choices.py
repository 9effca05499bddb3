"""The closed words: every setting that takes one of a few names."""

from __future__ import annotations

from enum import StrEnum

BETWEEN_LABELS = ";"
"""Written between the labels of an image that has several."""


class TaskName(StrEnum):
    """What a network predicts of an image: its one class, or any number of labels."""

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi_label"


class ModelSource(StrEnum):
    """Where a recipe's model comes from."""

    TIMM = "timm"
    TORCHVISION = "torchvision"
    DSFT = "dsft"
    PYTHON = "python"


class DataSource(StrEnum):
    """Where a recipe's images come from."""

    DIGITS = "digits"
    FOLDER = "folder"
    CSV = "csv"
    TORCHVISION = "torchvision"
    HF = "hf"
    WDS = "wds"


class SplitName(StrEnum):
    """The three parts of a data set (DESIGN: train fits, val chooses, test chooses nothing)."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class BadImages(StrEnum):
    """What happens to an image that cannot be read."""

    ERROR = "error"
    SKIP = "skip"


class ExportFormat(StrEnum):
    """What a model is exported to."""

    ONNX = "onnx"
    TORCH_EXPORT = "torch-export"
    SAFETENSORS = "safetensors"


class BenchmarkRuntime(StrEnum):
    """What runs a network in a benchmark."""

    EAGER = "eager"
    COMPILED = "compiled"
    ONNXRUNTIME = "onnxruntime"


class BenchmarkDtype(StrEnum):
    """The number format of weights and images in a benchmark."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class PredictionFormat(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"


class Cache(StrEnum):
    """Whether decoded images are kept in memory."""

    AUTO = "auto"
    RAM = "ram"
    NONE = "none"


class Sampler(StrEnum):
    """How often an image comes in an epoch of training."""

    UNIFORM = "uniform"
    BALANCED = "balanced"


class Method(StrEnum):
    """How the weights of a separable layer are derived from the dense ones."""

    AUTO = "auto"
    FRESH = "fresh"
    SVD = "svd"
    REFIT = "refit"


class Order(StrEnum):
    """Which of the two convolutions of a separable layer comes first."""

    AUTO = "auto"
    DW_PW = "dw_pw"
    PW_DW = "pw_dw"


class Structure(StrEnum):
    """What a convolution may become."""

    DW_PW = "dw_pw"
    PW_DW = "pw_dw"
    LOW_RANK = "low_rank"


class Cost(StrEnum):
    """What a budget counts."""

    MACS = "macs"
    PARAMS = "params"
    LATENCY = "latency"


class Runtime(StrEnum):
    """What runs a network while it is timed."""

    EAGER = "eager"
    ONNXRUNTIME = "onnxruntime"


class Form(StrEnum):
    """How an input channel reaches several depthwise kernels (order ``dw_pw``)."""

    AUTO = "auto"
    MULTIPLIER = "multiplier"
    CONCATENATE = "concatenate"
    GATHER = "gather"
    PASSES = "passes"


class Decision(StrEnum):
    """What a plan does with one convolution."""

    CONVERTED = "converted"
    KEPT = "kept"


class Reason(StrEnum):
    """Why a plan decides as it does; the list is closed."""

    BUDGET = "chosen by the budget"
    RANK = "the rank was asked for"
    EXCLUDED = "left out by include or exclude"
    NOT_CHEAPER = "would not become cheaper"
    NOT_FASTER = "would not become faster"
    NO_STRUCTURE = "no structure that is allowed fits"
    NOT_RUN = "not run by the example input"
    ONE_POSITION = "kernel of one position"
    DEPTHWISE = "depthwise already"
    NO_SEPARABLE_LAYER = "no separable layer for its kind"
    SUBCLASS = "a convolution class or forward pass of its own"
    PARAMETRIZED = "weight is computed from other parameters"
    NOT_PLAIN = "weight is no plain tensor of real numbers"
    EMPTY = "no channels"
    SHARED_WEIGHT = "weight is shared with another module"
    HELD = "held by a plain attribute as well"
    READ_OUTSIDE = "weight is read outside the layer"
    HOOKED = "has hooks"
    NEW_CLASSIFIER = "a new classifier, for other classes"


class Amp(StrEnum):
    """The number format of the forward pass; parameters stay float32."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    NONE = "none"


class ProgressMode(StrEnum):
    """How progress is shown on standard error."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    OFF = "off"


class TrackerName(StrEnum):
    """Where the figures of a run are kept."""

    JSONL = "jsonl"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class WeightsKind(StrEnum):
    """Which weights a model folder holds: the moving average, the optimizer's, or the mean of several epochs'."""

    EMA = "ema"
    RAW = "raw"
    AVERAGE = "average"
