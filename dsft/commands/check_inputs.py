"""The inputs with which an exported file is checked and calibrated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.assembly import Network, load_split
from dsft.assembly.held_out import warn_if_seen
from dsft.assembly.named_data import RECORDED, NamedData
from dsft.assembly.scoring import ScoringData, open_scoring_data, under_class_table
from dsft.choices import SplitName
from dsft.data import Split
from dsft.data.inputs import INPUTS
from dsft.devices import Compute
from dsft.errors import DataError
from dsft.progress import Report, Warn, ignore

NOISE_INPUTS = 8
"""Number of random inputs for the check of a model that records no data."""


@dataclass(frozen=True)
class CheckSettings:
    """Which inputs the parity check and the calibration of int8 take.

    Attributes:
        data: Which data set; by default the one that the model records.
        split: The split of the parity check.
        images: Number of its inputs; None for all of them.
        calibration_images: Number of inputs of the train split for the calibration of int8.
    """

    data: NamedData = RECORDED
    split: SplitName = SplitName.TEST
    images: int | None = 256
    calibration_images: int = 256


@dataclass(frozen=True)
class CheckInputs:
    """Preprocessed inputs.

    Attributes:
        batches: Inputs of the parity check, in batches ``(batch, *shape)``.
        targets: Their targets ``(inputs, ...)``; None if the model has no class table.
        calibration: Inputs for the calibration, in batches; empty if none were requested.
        calibration_targets: Their targets; None if the model has no class table, or without such inputs.
    """

    batches: list[Tensor]
    targets: Tensor | None
    calibration: list[Tensor]
    calibration_targets: Tensor | None = None


def load_check_inputs(
    network: Network,
    model: str,
    settings: CheckSettings,
    report: Report,
    *,
    with_calibration: bool,
    is_scored: bool = False,
) -> CheckInputs:
    """Load the inputs of a check; without any data, draw noise unless data is needed.

    Args:
        network: The model.
        model: Its name, for messages.
        settings: Which inputs.
        report: Receives a warning if the check uses noise, or images that trained the model score it.
        with_calibration: Load inputs for the calibration of int8 as well.
        is_scored: The model is scored on the inputs.

    Raises:
        InputError: The data is missing or invalid, or no inputs are left for the calibration.
    """
    if settings.data.name is None and not network.trainings:
        if with_calibration or is_scored:
            purpose = "it is scored on" if is_scored else "--int8 calibrates the activation ranges on"
            raise DataError(
                f"model {model!r}: records no data, but {purpose} {network.preprocessing.kind.plural}. Give them with "
                "--data RECIPE|FOLDER."
            )
        settings.data.require_unchanged(model)
        return _noise(network, model, report)
    opened = open_scoring_data(settings.data, network, model, report)
    split = opened.split(settings.split, network, report)
    if network.classes is not None:
        split = under_class_table(split, model, network)
    split = split if settings.images is None else split.evenly_spaced(settings.images)
    if is_scored or with_calibration:
        warn_if_seen(split, model, network.trainings, report)
    batches, targets = _load(split, opened, network)
    if not with_calibration:
        return CheckInputs(batches, targets if network.classes is not None else None, [])
    pool = _calibration_pool(opened, split, network)
    if network.classes is None:
        calibration, _ = _load(pool.evenly_spaced(settings.calibration_images), opened, network)
        return CheckInputs(batches, None, calibration)
    pool = under_class_table(pool, model, network)
    return CheckInputs(batches, targets, *_load(pool.evenly_spaced(settings.calibration_images), opened, network))


def _noise(network: Network, model: str, report: Report) -> CheckInputs:
    report(
        Warn(
            f"model {model!r}: records no data, so the file is checked on {NOISE_INPUTS} "
            f"{network.preprocessing.kind.plural} of noise. Give others with --data RECIPE|FOLDER."
        )
    )
    noise = INPUTS[network.preprocessing.kind].noise(network.preprocessing, NOISE_INPUTS)
    return CheckInputs([noise], None, [])


def _calibration_pool(opened: ScoringData, scored: Split, network: Network) -> Split:
    """Return the train split; of a plain folder, the inputs that are not scored."""
    # What the splits are has been reported.
    pool = opened.whole(network, ignore) if opened.is_plain else opened.split(SplitName.TRAIN, network, ignore)
    if pool.source is scored.source:
        taken = set(scored.indices)
        pool = dataclasses.replace(pool, indices=tuple(index for index in pool.indices if index not in taken))
    if not len(pool):
        noun = pool.input_kind.plural
        raise DataError(
            f"data: int8 is calibrated on {noun} that are not scored, and none are left. Lower --images, or add {noun}."
        )
    return pool


def _load(split: Split, opened: ScoringData, network: Network) -> tuple[list[Tensor], Tensor]:
    loader = load_split(
        split, opened.section, network.preprocessing.single, Compute(torch.device("cpu")), full_size=False
    )
    batches = [(batch.images, batch.targets) for batch in loader.epoch(0)]
    return [images for images, _ in batches], torch.cat([targets for _, targets in batches])
