"""Data sets: sources of examples, splits, transforms and batches.

A source lists and reads examples (:mod:`dsft.data.sources`): images, or inputs of another kind
(:mod:`dsft.data.inputs`). :func:`make_splits` divides sources into train, val and test, all of which use the class
table of train. A transform converts an example to a tensor, and :func:`make_loader` returns batches whose order and
augmentation depend only on seed, epoch and position.
"""

from dsft.data.balance import class_weights
from dsft.data.cache import with_cache
from dsft.data.checking import DataCheck, Same, check_examples
from dsft.data.dense_transforms import PictureTransform, joint_transform
from dsft.data.joint_transforms import (
    Degradation,
    JointAugmentation,
    JointTransform,
    MaskTransform,
    RestorationTransform,
)
from dsft.data.loader import Batch, BatchLoader, LoaderSettings, make_loader
from dsft.data.mixing import Mixing
from dsft.data.sources import (
    ImageSource,
    Source,
    find_files,
    open_csv,
    open_digits,
    open_folder,
    open_hf,
    open_torchvision,
    open_wds,
)
from dsft.data.splits import Split, Splits, count_channels, held_out_split, make_splits
from dsft.data.transforms import Transform, evaluation_transform, training_transform
from dsft.data.windows import Windows

__all__ = [
    "Batch",
    "BatchLoader",
    "DataCheck",
    "Degradation",
    "ImageSource",
    "JointAugmentation",
    "JointTransform",
    "LoaderSettings",
    "MaskTransform",
    "Mixing",
    "PictureTransform",
    "RestorationTransform",
    "Same",
    "Source",
    "Split",
    "Splits",
    "Transform",
    "Windows",
    "check_examples",
    "class_weights",
    "count_channels",
    "evaluation_transform",
    "find_files",
    "held_out_split",
    "joint_transform",
    "make_loader",
    "make_splits",
    "open_csv",
    "open_digits",
    "open_folder",
    "open_hf",
    "open_torchvision",
    "open_wds",
    "training_transform",
    "with_cache",
]
