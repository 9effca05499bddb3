"""The images on which finished models are scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsft.assembly.data import open_data, split_data
from dsft.assembly.named_data import NamedData
from dsft.assembly.network import Network
from dsft.choices import SplitName
from dsft.data import ImageSource, Split, held_out_split
from dsft.errors import DataError
from dsft.progress import Report
from dsft.recipe.sections import DataSection


@dataclass(frozen=True)
class ScoringData:
    """An open data set, on any split of which models can be scored.

    Attributes:
        section: Where it is and how it is split.
        is_plain: It is a plain folder of classes, which is scored as a whole.
        sources: Its parts.
    """

    section: DataSection
    is_plain: bool
    sources: Mapping[SplitName, ImageSource]

    def split(self, name: SplitName, network: Network, report: Report) -> Split:
        """Return a split; of a plain folder, all of it as the test split.

        Raises:
            DataError: There is no such split.
        """
        if not self.is_plain:
            return split_data(self.section, self.sources, report).get(name)
        if name is not SplitName.TEST:
            raise DataError(
                f"data: {self.section.root!r} is a plain folder of classes, which is scored as a whole, so it has no "
                f"{name} split. Leave --split out, or have splits drawn: data.val.fraction=0.15 "
                "data.test.fraction=0.15."
            )
        return self.whole(network, report)

    def whole(self, network: Network, report: Report) -> Split:
        """Return all of a plain folder as the test split.

        Raises:
            DataError: The network has no class table, or does not know one of the classes.
        """
        source = self.sources[SplitName.TRAIN]
        table = _require_known(source.classes, str(network.spec), network)
        return held_out_split(SplitName.TEST, source, table, report)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class table."""
        return self.sources[SplitName.TRAIN].classes


def open_scoring_data(named: NamedData, network: Network, model: str, report: Report) -> ScoringData:
    """Open the data on which models are scored.

    Args:
        named: What the command line says about it.
        network: The first model, whose recorded data is used if none is named.
        model: Its name, for messages.
        report: Receives the sizes of the splits.

    Raises:
        InputError: The data is missing or invalid, or none is named and the model records none.
    """
    section = named.section(network.trainings[-1] if network.trainings else None, model)
    sources = open_data(section, report)
    is_plain = named.is_image_folder and not named.draws_splits and list(sources) == [SplitName.TRAIN]
    return ScoringData(section, is_plain, sources)


def under_class_table(images: Split, model: str, network: Network) -> Split:
    """Number the classes of a split as a model does.

    Args:
        images: The split.
        model: The model's name, for messages.
        network: The model.

    Raises:
        DataError: The model has no class table or lacks one of the classes, or the labels are those of another task.
    """
    needed, found = network.task.codec.target_kind, images.target_kind
    if needed is not found:
        raise DataError(
            f"model {model!r}: its task, {network.task.name}, predicts {needed.description}, and the ground truth of "
            f"the data is {found.description}. Give other data with --data."
        )
    return dataclasses.replace(images, classes=_require_known(images.classes, model, network))


def _require_known(classes: Sequence[str], model: str, network: Network) -> tuple[str, ...]:
    table = class_table(network)
    if unknown := [name for name in classes if name not in table]:
        raise DataError(
            f"model {model!r}: does not know these classes of the data: {', '.join(unknown[:5])}. It knows "
            f"{', '.join(table[:5])}{', ...' if len(table) > 5 else ''}. Give data of its classes with --data."
        )
    return table


def class_table(network: Network) -> tuple[str, ...]:
    """Return the class table of a model.

    Raises:
        DataError: It has none.
    """
    if network.classes is None:
        raise DataError(
            f"model {network.spec}: its class names are unknown, so its outputs cannot be compared with labels. Give "
            "them with --classes FILE, or with --classes data if its outputs are the classes of the data, in order."
        )
    return network.classes
