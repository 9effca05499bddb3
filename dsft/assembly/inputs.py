"""What the recipe and the data determine of a network's input, for each kind of input.

A new kind of input is a function for its augmentation and one for its evaluation transform, and one entry in
:data:`INPUT_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dsft.assembly.clip_inputs import ClipData, augment_clips
from dsft.assembly.signal_inputs import SignalData, augment_signals, join_signals
from dsft.assembly.text_inputs import TextData, augment_texts
from dsft.choices import InputKind
from dsft.data import (
    Degradation,
    JointAugmentation,
    JointTransform,
    Split,
    Transform,
    joint_transform,
    training_transform,
)
from dsft.errors import DataError, ModelError
from dsft.preprocessing import InputPreprocessing, Preprocessing
from dsft.recipe.sections import AugmentSection, ClipSection, DataSection, SignalSection, TextSection


class DataInput(Protocol):
    """Determines the input of a network from a data set."""

    @property
    def kind(self) -> InputKind:
        """What the examples are."""
        ...

    @property
    def arguments(self) -> Mapping[str, int]:
        """What a builder needs to know of the data, see :attr:`InputPreprocessing.arguments`."""
        ...

    def fit(self, channels: int | None) -> InputPreprocessing:
        """Return the evaluation transform for a network that the data have to tell it.

        Args:
            channels: Input channels of the network; None for those of the data.

        Raises:
            DataError: No training example can be read, or the examples have not what the recipe asks for.
        """
        ...

    def adapt(self, known: InputPreprocessing, name: str) -> InputPreprocessing:
        """Return the evaluation transform of a network that has one, with what the recipe changes.

        Args:
            known: The evaluation transform of the network's weights.
            name: Name of the network in messages.

        Raises:
            ModelError: The network takes another kind of input.
            RecipeError: The recipe changes what the weights depend on.
        """
        ...


@dataclass(frozen=True)
class InputRules:
    """What the sections of a recipe mean for a kind of input.

    Attributes:
        augment: Returns the transform of training examples.
        join: Returns the transform of examples together with their ground truth, where that has places in them; without
            an augmentation, that of evaluation.
        from_data: Returns what determines the input of networks from the data; None if networks state it.
    """

    augment: Callable[[AugmentSection, Any], Transform]
    join: Callable[[Split, DataSection, Any, AugmentSection | None, bool], JointTransform]
    from_data: Callable[[DataSection, Split], DataInput] | None = None


def data_input(section: DataSection, train: Split) -> DataInput | None:
    """Return what determines the input of networks from the data; None if networks state it."""
    from_data = INPUT_RULES[train.input_kind].from_data
    return from_data(section, train) if from_data is not None else None


def augmenting_transform(augment: AugmentSection, preprocessing: InputPreprocessing) -> Transform:
    """Return the transform of the training examples.

    Raises:
        RecipeError: timm cannot parse the policy of ``auto_augment``, or ignores ``color_jitter`` beside it.
    """
    return INPUT_RULES[preprocessing.kind].augment(augment, preprocessing)


def require_kind(split: Split, preprocessing: InputPreprocessing) -> None:
    """Check that a network takes what the examples of a split are.

    Raises:
        DataError: It takes another kind of input.
    """
    if split.input_kind is not preprocessing.kind:
        raise DataError(
            f"data: {split.source.origin!r} has {split.input_kind.plural}, and the network takes "
            f"{preprocessing.kind.plural}. Choose other data, or another network."
        )


def as_images(preprocessing: InputPreprocessing) -> Preprocessing:
    """Return the evaluation transform of a network that takes images.

    Raises:
        ModelError: It takes another kind of input.
    """
    if not isinstance(preprocessing, Preprocessing):
        raise ModelError(
            f"model: the task needs a network that takes images, found one that takes {preprocessing.kind.plural}."
        )
    return preprocessing


def _augment_images(augment: AugmentSection, preprocessing: Preprocessing) -> Transform:
    return training_transform(
        preprocessing,
        scale=augment.scale,
        hflip=augment.hflip,
        auto_augment=augment.auto_augment,
        color_jitter=augment.color_jitter,
        erase=augment.erase,
    )


def _join_images(
    split: Split, data: DataSection, preprocessing: Preprocessing, augment: AugmentSection | None, full_size: bool
) -> JointTransform:
    together = None
    if augment is not None:
        together = JointAugmentation(augment.scale, augment.hflip, augment.color_jitter or 0.0)
    degradation = Degradation(data.degrade.noise, data.degrade.downscale) if data.degrade is not None else None
    return joint_transform(
        split.target_kind,
        preprocessing,
        degradation,
        augmentation=together,
        full_size=full_size,
        most_boxes=split.most_boxes,
    )


def _refuse_joint(
    split: Split, data: DataSection, preprocessing: InputPreprocessing, augment: AugmentSection | None, full_size: bool
) -> JointTransform:
    """Raise an error: networks of clips and texts only classify."""
    del data, augment, full_size
    raise ModelError(
        f"model: the task needs {split.target_kind.description}, and a network of {preprocessing.kind.plural} finds "
        "classes only. Set task to classification or multi_label."
    )


INPUT_RULES: Mapping[InputKind, InputRules] = {
    InputKind.IMAGE: InputRules(_augment_images, _join_images),
    InputKind.SIGNAL: InputRules(
        augment_signals, join_signals, lambda section, train: SignalData(section.signal or SignalSection(), train)
    ),
    InputKind.CLIP: InputRules(
        augment_clips, _refuse_joint, lambda section, train: ClipData(section.clip or ClipSection(), train)
    ),
    InputKind.TEXT: InputRules(
        augment_texts, _refuse_joint, lambda section, train: TextData(section.text or TextSection(), train)
    ),
}
