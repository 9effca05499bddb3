"""The presentation of restored images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dsft.tasks.metrics import Rows
from dsft.tasks.pictures import stretched_picture, unit_picture


class RestorationView:
    """Implements :class:`dsft.tasks.View`."""

    activation: ClassVar = "identity"
    columns: ClassVar = ("psnr", "ssim", "mse", "psnr_y", "ssim_y")

    def describe_images(self, rows: Rows, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return PSNR in dB, SSIM and mean squared error of each image, and PSNR and SSIM of its luminance."""
        del classes
        return [tuple(f"{value:.6f}" for value in own) for own in rows.outputs.tolist()]

    def pictures(
        self, image: Tensor, output: Tensor, target: Tensor, classes: Sequence[str]
    ) -> Mapping[str, NDArray[np.uint8]]:
        """Return the degraded, the restored and the clean image."""
        del classes
        return {"input": stretched_picture(image), "restored": unit_picture(output), "clean": unit_picture(target)}

    def write_prediction(self, output: Tensor, size: tuple[int, int]) -> Image.Image:
        """Return the restored image."""
        del size
        return Image.fromarray(unit_picture(output))
