"""Where images come from: each ``open_*`` function returns the parts that a data set itself has.

They are image sources, keyed by split; a data set that is not divided is all
``train``.
"""

from dsft.data.sources.digits import open_digits
from dsft.data.sources.folder import has_splits, is_hidden, open_folder
from dsft.data.sources.hugging_face import open_hf
from dsft.data.sources.images import ImageArray, ImageFiles, ImageSource
from dsft.data.sources.shards import open_wds
from dsft.data.sources.table import open_csv
from dsft.data.sources.torchvision import open_torchvision
from dsft.data.sources.unlabelled import LooseImages, find_images

__all__ = [
    "ImageArray",
    "ImageFiles",
    "ImageSource",
    "LooseImages",
    "find_images",
    "has_splits",
    "is_hidden",
    "open_csv",
    "open_digits",
    "open_folder",
    "open_hf",
    "open_torchvision",
    "open_wds",
]
