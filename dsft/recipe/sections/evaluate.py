"""``evaluate``: the metrics, and the decisions that depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from dsft.choices import SplitName, TaskName
from dsft.recipe.sections.base import Section

MONITORS: Mapping[TaskName, tuple[str, ...]] = {
    TaskName.CLASSIFICATION: ("val/top1", "val/top5", "val/loss", "val/macro_f1"),
    TaskName.MULTI_LABEL: ("val/map", "val/exact_match", "val/micro_f1", "val/macro_f1", "val/loss"),
    TaskName.SEGMENTATION: ("val/miou", "val/pixel_accuracy", "val/loss"),
    TaskName.DETECTION: ("val/map", "val/map50", "val/map75"),
    TaskName.RESTORATION: ("val/psnr", "val/ssim", "val/psnr_y", "val/ssim_y", "val/loss"),
}
"""The metrics of each task that can be monitored; ``auto`` is the first."""

_WORDS = ["auto", *dict.fromkeys(name for names in MONITORS.values() for name in names)]


class EvaluateSection(Section):
    """What is evaluated, which metric selects the best weights, and when training stops early."""

    monitor: Annotated[str, Field(json_schema_extra={"enum": [*_WORDS]})] = "auto"
    """The validation metric that selects the best weights; of equal epochs the first. `auto` is `val/top1`;
    for tasks `multi_label` and `detection` it is `val/map`, for `segmentation` `val/miou`, for `restoration`
    `val/psnr`. Each task has metrics of its own: `top1`, `top5` and `macro_f1` for `classification`; `map`,
    `exact_match`, `micro_f1` and `macro_f1` for `multi_label`; `miou` and `pixel_accuracy` for `segmentation`; `map`,
    `map50` and `map75` for `detection`; `psnr` and `ssim` for `restoration`, and with `_y` those of the luminance of
    colour images."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Early stopping: number of epochs without improvement after which training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change of the metric that counts as an improvement for `patience`."""
    splits: list[SplitName] = [SplitName.VAL, SplitName.TEST]
    """The splits that the final weights are evaluated on."""
