"""Whether images are held out from a network: what its weights, and those of its teachers, were trained on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dsft.assembly.data import open_splits
from dsft.choices import SplitName
from dsft.data import Split, Splits
from dsft.data.sources import ImageSource
from dsft.errors import CheckpointError, DataError
from dsft.progress import ignore
from dsft.recipe.sections import DataSection

ROLES = {SplitName.TRAIN: "trained", SplitName.VAL: "chose"}
"""What the images of a split do to a network."""


@dataclass(frozen=True)
class Training:
    """One training that a network's weights, or those of a teacher of theirs, went through.

    Attributes:
        data: The recipe's data section, as JSON values.
        fingerprints: Of the splits that trained and chose the weights, by name.
    """

    data: Mapping[str, Any]
    fingerprints: Mapping[str, str]

    def section(self) -> DataSection:
        """Return the data section.

        Raises:
            CheckpointError: It is not one that this version of dsft knows.
        """
        try:
            # In pydantic's strict mode JSON text, unlike Python objects, may name an enum's member by its value.
            return DataSection.model_validate_json(json.dumps(self.data))
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise CheckpointError(
                f"model folder: its manifest names data that this version of dsft does not know ({problem}). Say which "
                "images to use with --data RECIPE or FOLDER."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the training as JSON values."""
        return {"data": dict(self.data), "fingerprints": dict(self.fingerprints)}


def record_training(section: DataSection, splits: Splits) -> Training:
    """Return the training that a run on these splits is."""
    drawn = (splits.train, splits.val)
    return Training(section.model_dump(mode="json"), {split.name.value: split.fingerprint for split in drawn})


def provenance(trainings: Sequence[Training]) -> dict[str, Any]:
    """Return what :func:`dsft.artifact.save_model` is told of trainings: the last one, and those before it."""
    if not trainings:
        return {"fingerprints": {}, "data": None}
    *earlier, last = trainings
    ancestors = [training.to_dict() for training in earlier if training != last]
    return {**last.to_dict(), "ancestors": [one for at, one in enumerate(ancestors) if one not in ancestors[:at]]}


def count_seen(images: Split, trainings: Iterable[Training]) -> dict[SplitName, int]:
    """Count the images of a split that trained or chose a network.

    The splits of earlier trainings are drawn again from their data; where the data is gone or has changed, only a
    split that is the same as a whole is recognised.

    Args:
        images: The split that is about to be scored.
        trainings: What the network went through.

    Returns:
        By the role of the earlier split the number of images of this one that were in it, where there are any.
    """
    seen: dict[SplitName, int] = {}
    for training in trainings:
        for role in ROLES:
            count = _overlap(images, training, role)
            seen[role] = max(seen.get(role, 0), count)
    return {role: count for role, count in seen.items() if count}


def _overlap(images: Split, training: Training, role: SplitName) -> int:
    fingerprint = training.fingerprints.get(role)
    with contextlib.suppress(DataError, CheckpointError):
        earlier = open_splits(training.section(), ignore).get(role)
        if earlier.fingerprint == fingerprint:
            return _count_common(images, earlier)
    # Of data that is gone or has changed, nothing but names and sizes is known.
    return len(images) if images.fingerprint == fingerprint else 0


def _count_common(images: Split, earlier: Split) -> int:
    """Count the images of one split that are in another.

    Data sets whose files are numbered have the same names, and now and then the same sizes, in every folder: where
    the two are not of one place, the pixels decide.
    """
    there = dict(zip(_identities(earlier), earlier.indices, strict=True))
    named = zip(_identities(images), images.indices, strict=True)
    pairs = [(index, there[name]) for name, index in named if name in there]
    if os.path.realpath(images.source.origin) == os.path.realpath(earlier.source.origin):
        return len(pairs)
    return sum(_has_same_pixels(images.source, own, earlier.source, other) for own, other in pairs)


def _identities(split: Split) -> list[tuple[str, str]]:
    return [(key, split.source.identity(index)) for key, index in zip(split.keys, split.indices, strict=True)]


def _has_same_pixels(source: ImageSource, index: int, other: ImageSource, number: int) -> bool:
    with contextlib.suppress(DataError):
        one, two = source.read(index), other.read(number)
        return (one.mode, one.size, one.tobytes()) == (two.mode, two.size, two.tobytes())
    # What cannot be read is not scored.
    return False
