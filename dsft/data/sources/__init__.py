"""Sources of examples: each ``open_*`` function returns the splits that a data set defines, as sources.

An undivided data set is all ``train``. :mod:`dsft.data.sources.registry` lists the sources.
"""

from dsft.data.sources.audio import Groups
from dsft.data.sources.digits import open_digits
from dsft.data.sources.folder import has_splits, is_hidden, open_folder
from dsft.data.sources.hugging_face import open_hf
from dsft.data.sources.images import (
    BoxSource,
    DenseSource,
    ExampleFiles,
    ImageArray,
    ImageFiles,
    ImageSource,
    SignalFiles,
    Source,
    input_kind_of,
    target_kind_of,
)
from dsft.data.sources.registry import SOURCES, DataLocation, SourceEntry, open_source
from dsft.data.sources.shards import open_wds
from dsft.data.sources.table import open_csv
from dsft.data.sources.text import open_text
from dsft.data.sources.torchvision import open_torchvision
from dsft.data.sources.unlabelled import UnlabelledFiles, find_examples, find_files

__all__ = [
    "SOURCES",
    "BoxSource",
    "DataLocation",
    "DenseSource",
    "ExampleFiles",
    "Groups",
    "ImageArray",
    "ImageFiles",
    "ImageSource",
    "SignalFiles",
    "Source",
    "SourceEntry",
    "UnlabelledFiles",
    "find_examples",
    "find_files",
    "has_splits",
    "input_kind_of",
    "is_hidden",
    "open_csv",
    "open_digits",
    "open_folder",
    "open_hf",
    "open_source",
    "open_text",
    "open_torchvision",
    "open_wds",
    "target_kind_of",
]
