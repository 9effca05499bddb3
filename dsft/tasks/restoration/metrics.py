"""The metrics of restoration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from dsft.choices import TaskName
from dsft.metrics import Interval
from dsft.tasks.metric_specs import MetricLayout, MetricSpec

LAYOUT = MetricLayout(
    main=MetricSpec("psnr", "PSNR", points=1, unit="dB"),
    others=(MetricSpec("ssim", "SSIM", points=1, unit="", digits=4),),
    classes=(),
    prediction="image",
    target="image",
    details=(
        MetricSpec("loss", "MSE", points=1, unit="", digits=6),
        MetricSpec("psnr_y", "PSNR of Y", points=1, unit="dB"),
        MetricSpec("ssim_y", "SSIM of Y", points=1, unit="", digits=4),
    ),
    title="PSNR in dB, loss: mean squared error of pixels from 0 to 1",
)


@dataclass(frozen=True)
class RestorationMetrics:
    """The metrics of a network on a split. The names are a stable interface for scripts.

    Images are compared at their full size, with pixels from 0 to 1; restored pixels outside of it are clipped.

    Attributes:
        split: Name of the split.
        count: Number of evaluated images.
        skipped: Number of unreadable images, which were skipped.
        loss: Mean squared error of the images.
        psnr: Mean peak signal-to-noise ratio of the images, in dB.
        psnr_interval: Bounds of its 95 % confidence interval (bootstrap over the images).
        ssim: Mean structural similarity of the images, -1 to 1.
        psnr_y: ``psnr`` of the luminance (BT.601, 16 to 235) of colour images; of others that of the images.
        ssim_y: ``ssim`` likewise.
        per_class: Empty, since there are no classes.
        task: Identifies the format.
    """

    layout: ClassVar[MetricLayout] = LAYOUT

    split: str
    count: int
    skipped: int
    loss: float
    psnr: float
    psnr_interval: Interval
    ssim: float
    psnr_y: float
    ssim_y: float
    per_class: tuple[()] = ()
    task: TaskName = TaskName.RESTORATION

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, with the names of the attributes as keys."""
        return {**asdict(self), "psnr_interval": list(self.psnr_interval), "per_class": [], "task": self.task.value}
