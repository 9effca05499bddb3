"""Which images trained or selected a network's weights, or those of its teachers, and so are not held out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsft.artifact import Provenance
from dsft.assembly.data import open_splits
from dsft.choices import SplitName
from dsft.data import Split, Splits
from dsft.data.inputs import INPUTS
from dsft.data.sources import Source, input_kind_of
from dsft.errors import CheckpointError, DataError
from dsft.progress import Report, Warn, ignore
from dsft.recipe.sections import DataSection
from dsft.run_files import read_splits

ROLES = {SplitName.TRAIN: "trained or calibrated", SplitName.VAL: "selected"}
"""What the images of a split did to a network, as messages say it."""


@dataclass(frozen=True)
class Training:
    """One training of a network's weights, or of its teacher's.

    Attributes:
        data: The recipe's data section, as JSON values.
        fingerprints: Fingerprint of each split that trained or selected the weights, by split name.
        run: Folder that may list the images of these splits, the one around the model folder; None if there is none.
    """

    data: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    run: Path | None = dataclasses.field(default=None, compare=False)

    def section(self) -> DataSection:
        """Return the data section.

        Raises:
            CheckpointError: This version of dsft does not know it, or it does not say where the images are.
        """
        try:
            # In pydantic's strict mode JSON text, unlike Python objects, may name an enum's member by its value.
            return DataSection.model_validate_json(json.dumps(self.data))
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            if "root" in self.data and self.data["root"] is None:
                reason = "does not say where its data is, as in folders that were published"
            else:
                reason = f"names data that this version of dsft does not know ({problem})"
            raise CheckpointError(
                f"model folder: its manifest {reason}. Give the data with --data RECIPE|FOLDER."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the training as JSON values."""
        return {"data": dict(self.data), "fingerprints": dict(self.fingerprints)}


def record_training(section: DataSection, splits: Splits) -> Training:
    """Return the record of a training on these splits."""
    drawn = (splits.train, splits.val)
    return Training(section.model_dump(mode="json"), {split.name.value: split.fingerprint for split in drawn})


def provenance(trainings: Sequence[Training]) -> Provenance:
    """Return what a model folder records of a sequence of trainings, the last one last."""
    if not trainings:
        return Provenance()
    *earlier, last = trainings
    ancestors = [training.to_dict() for training in earlier if training != last]
    distinct = tuple(one for at, one in enumerate(ancestors) if one not in ancestors[:at])
    return Provenance(last.fingerprints, last.data, distinct)


def count_seen(images: Split, trainings: Iterable[Training]) -> dict[SplitName, int]:
    """Count the images of a split that trained or selected a network.

    The splits of earlier trainings are drawn again from their data. If images were added to that data or removed from
    it, the keys that the run's folder lists tell which ones it had. If neither the data nor these keys are there, only
    an identical split is recognised, by its fingerprint.

    Args:
        images: The split that is about to be scored.
        trainings: The trainings of the network.

    Returns:
        For each earlier split with images in common, by its name, the number of them.
    """
    seen: dict[SplitName, int] = {}
    for training in trainings:
        for role in ROLES:
            count = _overlap(images, training, role)
            seen[role] = max(seen.get(role, 0), count)
    return {role: count for role, count in seen.items() if count}


def warn_if_seen(images: Split, model: str, trainings: Iterable[Training], report: Report) -> None:
    """Report a warning if some of the images that score a model trained or selected it.

    Args:
        images: The images.
        model: The model's name.
        trainings: Its trainings.
        report: Receives the warning.
    """
    for role, count in count_seen(images, trainings).items():
        report(
            Warn(
                f"{model}: {count:,} of these {len(images):,} {images.input_kind.plural} {ROLES[role]} this model, or "
                "one that it was made from; its score on them is not a held-out score."
            )
        )


def _overlap(images: Split, training: Training, role: SplitName) -> int:
    with contextlib.suppress(DataError, CheckpointError):
        if (earlier := _draw_again(training, role)) is not None:
            return _count_common(images, earlier)
    # Of missing or changed data only the fingerprint is known.
    return len(images) if images.fingerprint == training.fingerprints.get(role) else 0


def _draw_again(training: Training, role: SplitName) -> Split | None:
    """Return a split of a training; None if its data has changed, and the keys that it had are unknown."""
    drawn, fingerprint = open_splits(training.section(), ignore).get(role), training.fingerprints.get(role)
    if drawn.fingerprint == fingerprint:
        return drawn
    listed = read_splits(training.run).get(role) if training.run is not None else None
    if listed is None or listed.fingerprint != fingerprint:
        return None
    left = [index for index, key in enumerate(drawn.source.keys) if key in listed.keys]
    return dataclasses.replace(drawn, indices=tuple(left))


def _count_common(images: Split, earlier: Split) -> int:
    """Count the images of one split that are also in another.

    Numbered files have the same names, and sometimes the same sizes, in unrelated data sets. Images from different
    folders therefore count as the same only if their content is equal.
    """
    there = dict(zip(_identities(earlier), earlier.indices, strict=True))
    named = zip(_identities(images), images.indices, strict=True)
    pairs = [(index, there[name]) for name, index in named if name in there]
    if os.path.realpath(images.source.origin) == os.path.realpath(earlier.source.origin):
        return len(pairs)
    return sum(_has_same_content(images.source, own, earlier.source, other) for own, other in pairs)


def _identities(split: Split) -> list[tuple[str, str]]:
    return [(key, split.source.identity(index)) for key, index in zip(split.keys, split.indices, strict=True)]


def _has_same_content(source: Source, index: int, other: Source, number: int) -> bool:
    with contextlib.suppress(DataError):
        kind = INPUTS[input_kind_of(source)]
        return input_kind_of(other) is kind.kind and kind.content(source.read(index)) == kind.content(
            other.read(number)
        )
    # An unreadable example is not scored.
    return False
