"""The transforms of the tasks whose ground truth has places in the image."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from dsft.choices import TargetKind
from dsft.data.box_transform import BoxTransform, fill_border
from dsft.data.joint_transforms import (
    Degradation,
    JointAugmentation,
    JointTransform,
    MaskTransform,
    RestorationTransform,
    interpolation_of,
    normalized,
    unit,
    v2,
)
from dsft.data.placement import place_image
from dsft.data.transforms import MODES
from dsft.preprocessing import Preprocessing


def joint_transform(
    kind: TargetKind,
    preprocessing: Preprocessing,
    degradation: Degradation | None = None,
    *,
    augmentation: JointAugmentation | None = None,
    full_size: bool = False,
    most_boxes: int = 0,
) -> JointTransform:
    """Return the transform for a kind of ground truth.

    Args:
        kind: A mask, boxes or an image.
        preprocessing: The input that the network expects.
        degradation: What is done to clean images.
        augmentation: Random augmentation; None for evaluation.
        full_size: See :class:`RestorationTransform` and :class:`MaskTransform`.
        most_boxes: See :attr:`BoxTransform.room`.
    """
    if kind is TargetKind.BOXES:
        # At least one row, so that no tensor is empty.
        return BoxTransform(preprocessing, max(most_boxes, 1), augmentation)
    if kind is TargetKind.MASK:
        return MaskTransform(preprocessing, augmentation, full_size)
    return RestorationTransform(preprocessing, degradation, augmentation, full_size)


@dataclass(frozen=True)
class PictureTransform:
    """Converts an image without ground truth to an input, as the evaluation transform of its task does.

    Args:
        preprocessing: The input that the network expects.
        kind: The ground truth of the task; an image is not resized where that is an image, or with windows.
    """

    preprocessing: Preprocessing
    kind: TargetKind

    def __call__(self, image: Image.Image) -> Tensor:
        """Return ``(channels, height, width)``, float32."""
        own = self.preprocessing
        picture = v2.functional.pil_to_tensor(image.convert(MODES[own.channels]))
        if self.kind is TargetKind.BOXES:
            place = place_image(image.size, own)
            size = [place.height, place.width]
            picture = v2.functional.resize(picture, size, interpolation_of(own), antialias=True)
            picture = fill_border(picture, place, own)
        elif self.kind is TargetKind.MASK and own.window_overlap is None:
            picture = v2.functional.resize(picture, list(own.image_size), interpolation_of(own), antialias=True)
        return normalized(unit(picture), own)
