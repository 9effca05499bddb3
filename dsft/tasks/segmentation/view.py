"""The presentation of predicted masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dsft.metrics import mean_iou, pixel_accuracy
from dsft.tasks.metrics import Rows
from dsft.tasks.pictures import as_plane, class_colours, coloured_mask, stretched_picture

_OPACITY = 0.6


class SegmentationView:
    """Implements :class:`dsft.tasks.View`."""

    activation: ClassVar = "softmax"
    columns: ClassVar = ("miou", "pixel_accuracy", "loss")

    def describe_images(self, rows: Rows, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return mean IoU, pixel accuracy and loss of each image."""
        del classes
        scores = zip(mean_iou(rows.targets), pixel_accuracy(rows.targets), rows.outputs, strict=True)
        return [tuple(f"{float(value):.6f}" for value in own) for own in scores]

    def pictures(
        self, image: Tensor, output: Tensor, target: Tensor, classes: Sequence[str]
    ) -> Mapping[str, NDArray[np.uint8]]:
        """Return the image, and the true and the predicted mask over it."""
        del classes
        plane = as_plane(image)
        # Of other numbers of channels than those of a picture the mean is drawn.
        plain = stretched_picture(plane if len(plane) in (1, 3) and image.ndim == 3 else plane.mean(0, keepdim=True))
        output, target = as_plane(output), as_plane(target[None])[0]
        colours = plain if plain.ndim == 3 else np.repeat(plain[..., None], 3, axis=2)
        return {
            "image": plain,
            "truth": _overlay(colours, coloured_mask(target)),
            "prediction": _overlay(colours, coloured_mask(output.argmax(0))),
        }

    def write_prediction(self, output: Tensor, size: tuple[int, int]) -> Image.Image:
        """Return the mask at the size of the image: class indices, with colours as the palette."""
        mask = Image.fromarray(output.argmax(0).byte().cpu().numpy()).resize(size, Image.Resampling.NEAREST)
        mask.putpalette(class_colours(256).flatten().tolist())
        return mask


def _overlay(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    mixed = (1 - _OPACITY) * image.astype(np.float64) + _OPACITY * mask
    return np.where(mask.any(2, keepdims=True), np.rint(mixed).astype(np.uint8), image)
