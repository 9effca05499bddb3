"""What each data source takes from a recipe, and what it can do.

A new source is a file in :mod:`dsft.data.sources`, its word in :class:`dsft.choices.DataSource`, and one line here and
in the registry of openers there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsft.choices import DataSource


@dataclass(frozen=True)
class DataSourceTraits:
    """The capabilities of a data source.

    Attributes:
        root: What ``data.root`` names; None if the source has no use for it.
        name: What ``data.name`` names; None if the source has no use for it.
        needs: Keys that must be given; of each group one is enough.
        can_download: The source downloads missing files with ``data.download``.
        has_label_sets: An image may have any number of labels, so that the source serves multi-label tasks.
    """

    root: str | None = None
    name: str | None = None
    needs: tuple[tuple[str, ...], ...] = ()
    can_download: bool = False
    has_label_sets: bool = False

    def accepts(self, key: str) -> bool:
        """Return whether the source has a use for a key of the section ``data``."""
        accepted = {
            "root": self.root is not None,
            "name": self.name is not None,
            "download": self.can_download,
            "label_separator": self.has_label_sets,
        }
        return accepted.get(key, True)


DATA_SOURCES: Mapping[DataSource, DataSourceTraits] = {
    DataSource.DIGITS: DataSourceTraits(),
    DataSource.FOLDER: DataSourceTraits(root="a folder with one folder of images per class", needs=(("root",),)),
    DataSource.CSV: DataSourceTraits(root="a CSV file", needs=(("root",),), has_label_sets=True),
    DataSource.TORCHVISION: DataSourceTraits(
        root="the folder of the data set",
        name="the name of the data set, such as CIFAR10",
        needs=(("root",), ("name",)),
        can_download=True,
    ),
    DataSource.HF: DataSourceTraits(
        root="the folder of a saved data set",
        name="its name on the hub with download: true",
        needs=(("root", "name"),),
        can_download=True,
    ),
    DataSource.WDS: DataSourceTraits(root="a folder of shards", needs=(("root",),)),
}


def sources_with(key: str) -> str:
    """Return the sources that have a use for a key, such as ``torchvision or hf``."""
    *others, last = [source for source, traits in DATA_SOURCES.items() if traits.accepts(key)]
    return f"{', '.join(others)} or {last}" if others else last
