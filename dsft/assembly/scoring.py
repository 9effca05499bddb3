"""The images that finished models are scored on: those that they name themselves, a recipe's, or a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsft.assembly.data import load_split, open_data, split_data
from dsft.assembly.network import Network
from dsft.choices import DataSource, SplitName
from dsft.data import ImageSource, Split, held_out_split
from dsft.devices import Compute
from dsft.errors import DataError, InputError
from dsft.evaluation import evaluate
from dsft.progress import Report
from dsft.recipe import load_recipe
from dsft.recipe.sections import DataSection


@dataclass(frozen=True)
class ScoringData:
    """An open data set, any split of which a model can be scored on.

    Attributes:
        section: Where it is and how it is split.
        is_plain: It is a plain folder of classes, which is one split by itself.
        sources: Its parts.
    """

    section: DataSection
    is_plain: bool
    sources: Mapping[SplitName, ImageSource]

    def split(self, name: SplitName, network: Network, report: Report) -> Split:
        """Return a split; a plain folder is the split that is asked for.

        Raises:
            DataError: There is no such split.
        """
        if self.is_plain:
            return held_out_split(name, self.sources[SplitName.TRAIN], class_table(network), report)
        return split_data(self.section, self.sources, report).get(name)


def open_scoring_data(
    data: str | None, overrides: Sequence[str], folder: Path, network: Network, report: Report
) -> ScoringData:
    """Open the data that models are to be scored on.

    Args:
        data: A recipe whose data section is used, or a folder of images; None for what the model names.
        overrides: Changes to the recipe.
        folder: The model's folder, for messages.
        network: The model.
        report: Receives what was found.

    Raises:
        InputError: The data are at fault, or the model names none.
    """
    section = _data_section(data, overrides, folder, network)
    sources = open_data(section, report)
    is_plain = data is not None and Path(data).is_dir() and list(sources) == [SplitName.TRAIN]
    return ScoringData(section, is_plain, sources)


def main_scorer(images: Split, section: DataSection, compute: Compute) -> Callable[[Network], float]:
    """Return a function that scores a network by the main score of its task on a split, in points (percent).

    Args:
        images: The split, its classes numbered as the network does.
        section: How its images are read.
        compute: Where networks run; they are scored in their own number format.
    """
    exact = dataclasses.replace(compute, amp_dtype=None)

    def score(network: Network) -> float:
        loader = load_split(images, section, network.preprocessing, exact)
        evaluation = evaluate(
            exact.place_module(network.module),
            loader,
            classes=images.classes,
            split_name=images.name,
            compute=exact,
            keys=images.keys,
            task=network.task,
        )
        return evaluation.main_score * network.task.layout.main.points

    return score


def under_class_table(images: Split, folder: Path, network: Network) -> Split:
    """Number the classes of a split as a model does.

    Raises:
        DataError: The model does not know one of them, or has no class table, or the labels are not of its task.
    """
    if images.has_label_sets != network.task.has_label_sets:
        kinds = {True: "any number of labels", False: "one class"}
        raise DataError(
            f"model {str(folder)!r}: its task is {network.task.name}, which gives an image "
            f"{kinds[network.task.has_label_sets]}, and in the data an image has {kinds[images.has_label_sets]}. Give "
            "other data with --data."
        )
    table = class_table(network)
    if unknown := [name for name in images.classes if name not in table]:
        raise DataError(
            f"model {str(folder)!r}: the data has classes that it does not know: {', '.join(unknown[:5])}. It knows "
            f"{', '.join(table[:5])}{', ...' if len(table) > 5 else ''}."
        )
    return dataclasses.replace(images, classes=table)


def class_table(network: Network) -> tuple[str, ...]:
    """Return the class table of a model.

    Raises:
        DataError: It has none.
    """
    if network.classes is None:
        raise DataError(
            f"model {network.spec}: its folder has no class table, so its answers cannot be compared with labels. "
            "Fine-tune it, or convert it from a source with classes."
        )
    return network.classes


def _data_section(data: str | None, overrides: Sequence[str], folder: Path, network: Network) -> DataSection:
    if data is not None and not Path(data).is_dir():
        return load_recipe(data, overrides).data
    if overrides:
        raise InputError(f"overrides {list(overrides)!r}: they change a recipe, so --data must name one.")
    if data is not None:
        return DataSection(source=DataSource.FOLDER, root=data)
    if not network.trainings:
        raise DataError(f"model {str(folder)!r}: its folder names no data. Say which with --data RECIPE or FOLDER.")
    return network.trainings[-1].section()
