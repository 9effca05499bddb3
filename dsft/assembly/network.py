"""A network with its weights, and what is known about it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import nn

from dsft.artifact import ModelDescription, Provenance
from dsft.assembly.held_out import Training
from dsft.choices import TargetKind, WeightsKind
from dsft.conversion import ConversionPlan
from dsft.errors import ConversionError, ModelError
from dsft.models import LoadedModel, ModelSpec
from dsft.preprocessing import LETTERBOX, ImageSize, InputPreprocessing, Preprocessing, as_height_and_width
from dsft.tasks import CLASSIFICATION, Task, task_named


@dataclass(frozen=True)
class Network:
    """A network with weights, and what is known about it.

    Attributes:
        module: The network.
        spec: How its architecture is built.
        preprocessing: Its evaluation transform.
        classes: Names of its outputs; None if unknown.
        plan: The plan by which it was converted; None if it is dense.
        trainings: The recorded trainings of its weights, in chronological order.
        task: What its outputs mean.
    """

    module: nn.Module
    spec: ModelSpec
    preprocessing: InputPreprocessing
    classes: tuple[str, ...] | None
    plan: ConversionPlan | None
    trainings: tuple[Training, ...]
    task: Task = CLASSIFICATION

    @property
    def is_converted(self) -> bool:
        """Whether any of its convolutions is converted; a plan may leave all of them as they are."""
        return self.plan is not None and bool(self.plan.converted)

    @property
    def required_plan(self) -> ConversionPlan:
        """The plan of a converted network.

        Raises:
            ConversionError: The network is dense.
        """
        if self.plan is None:
            raise ConversionError(f"model {self.spec}: expected a converted network, found a dense one.")
        return self.plan

    def describe(
        self, classes: tuple[str, ...] | None, weights: WeightsKind, provenance: Provenance
    ) -> ModelDescription:
        """Return what a model folder records of the network."""
        return ModelDescription(
            spec=self.spec,
            preprocessing=self.preprocessing,
            classes=classes,
            plan=self.plan,
            weights=weights,
            task=self.task.name,
            provenance=provenance,
        )


def as_network(loaded: LoadedModel) -> Network:
    """Describe a network that was loaded from a library, a weights file or a builder."""
    return Network(loaded.module, loaded.spec, loaded.preprocessing, loaded.classes, None, (), task_named(loaded.task))


def with_image_size(network: Network, image_size: ImageSize | None, *, is_fixed: bool) -> Network:
    """Return a network with another image size; None returns it unchanged.

    Args:
        network: The network.
        image_size: Side of the images in pixels, or height and width.
        is_fixed: Whether the architecture accepts one image size only.

    Raises:
        ModelError: The architecture accepts another size only, or takes no images.
    """
    if image_size is None:
        return network
    own = network.preprocessing
    if not isinstance(own, Preprocessing):
        raise ModelError(f"data.image_size: {network.spec} takes {own.kind.plural}, found {image_size}. Leave it out.")
    if as_height_and_width(image_size) == own.image_size:
        return network
    if is_fixed:
        raise ModelError(
            f"data.image_size: {network.spec} takes images of {own.image_size[0]} pixels only, "
            f"found {image_size}. Leave the key out, or choose another network."
        )
    resized = dataclasses.replace(own, image_size=as_height_and_width(image_size))
    return dataclasses.replace(network, preprocessing=resized)


def place_inputs(
    network: Network, *, letterbox: bool | None = None, window_overlap: float | None = None, option: str
) -> Network:
    """Return a network with another way from an image of any size to its input.

    Args:
        network: The network.
        letterbox: Keep the aspect ratio of images (detection); None for what the network states.
        window_overlap: See :attr:`dsft.preprocessing.InputPreprocessing.window_overlap`; None for what the network
            states.
        option: Where ``window_overlap`` was given, for messages.

    Raises:
        ModelError: The outputs of the network cannot be put together from those of windows.
    """
    own = network.preprocessing
    if letterbox is not None and isinstance(own, Preprocessing):
        own = dataclasses.replace(own, crop_mode=LETTERBOX if letterbox else "squash")
    if window_overlap is not None:
        kind = network.task.codec.target_kind
        if kind not in (TargetKind.MASK, TargetKind.IMAGE):
            raise ModelError(
                f"{option}: requires a model for segmentation or restoration, found task {network.task.name} of "
                f"{own.kind.plural}. Leave it out."
            )
        own = own.replace(window_overlap=window_overlap)
    return dataclasses.replace(network, preprocessing=own)
