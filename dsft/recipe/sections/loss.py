"""``loss``: the loss against the ground truth."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dsft.choices import PixelLoss
from dsft.recipe.sections.base import Section


class LossSection(Section):
    """The loss against the ground truth; that of classes and labels has no options here."""

    dice: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the Dice loss beside the cross entropy (task `segmentation`)."""
    pixel: PixelLoss = PixelLoss.L2
    """Distance between images (task `restoration`): mean absolute (`l1`) or mean squared difference (`l2`)."""
