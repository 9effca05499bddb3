"""The scorer of restoration. Of each image it keeps PSNR and SSIM, also of its luminance, and the squared error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dsft.metrics import Interval, luminance, mean_interval, peak_signal_to_noise_ratio, structural_similarity
from dsft.tasks.metric_specs import MetricLayout
from dsft.tasks.metrics import CalibratedMetrics, Metrics, Rows
from dsft.tasks.restoration.metrics import LAYOUT, RestorationMetrics

SCORES = ("psnr", "ssim", "loss", "psnr_y", "ssim_y")
"""What is kept of an image."""


class RestorationScorer:
    """Implements :class:`dsft.tasks.Scorer`.

    In :class:`dsft.tasks.Rows` the outputs are :data:`SCORES` ``(images, 5)``, float64, and the targets the numbers of
    pixels ``(images,)``, int64.
    """

    layout: ClassVar[MetricLayout] = LAYOUT
    metrics_type: ClassVar[type[Metrics]] = RestorationMetrics

    def reduce(self, outputs: Tensor, targets: Tensor) -> Rows:
        """Compare restored and clean images."""
        # On the CPU: not every device has float64.
        restored, clean = outputs.cpu().clamp(0, 1), targets.cpu()
        error = (restored.double() - clean.double()).square().flatten(1).mean(1)
        psnr, ssim = _similarity(restored, clean)
        # Another image than one of red, green and blue is its own luminance.
        on_luminance = (psnr, ssim)
        if clean.shape[1] == 3:
            on_luminance = _similarity(luminance(restored), luminance(clean))
        scores = torch.stack([psnr, ssim, error, *on_luminance], 1)
        return Rows(scores, torch.full((len(clean),), clean[0, 0].numel()))

    def image_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the PSNR of each image."""
        del targets
        return outputs[:, 0]

    def monitored_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return loss, PSNR and SSIM, also of the luminance."""
        del targets
        return dict(zip(SCORES, outputs.mean(0).tolist(), strict=True))

    def compute_metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        classes: Sequence[str],
        split_name: str,
        skipped: int,
        calibrated: CalibratedMetrics | None,
    ) -> RestorationMetrics:
        """Return :class:`RestorationMetrics`."""
        del classes, calibrated
        found = self.monitored_metrics(outputs, targets)
        return RestorationMetrics(
            split_name,
            len(outputs),
            skipped,
            loss=found["loss"],
            psnr=found["psnr"],
            psnr_interval=mean_interval(outputs[:, 0]),
            ssim=found["ssim"],
            psnr_y=found["psnr_y"],
            ssim_y=found["ssim_y"],
        )

    def confusion_matrix(self, outputs: Tensor, targets: Tensor) -> None:
        """Return None, since there are no classes."""

    def align(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return ``found`` unchanged."""
        del expected
        return found

    def agrees(self, expected: Tensor, found: Tensor) -> Tensor:
        """Return that all images agree: the tolerance of the outputs is the whole criterion."""
        del found
        return torch.ones(len(expected), dtype=torch.bool)

    def margin(self, outputs: Tensor) -> Tensor:
        """Return 0 for each image: any change of a pixel changes it."""
        return torch.zeros(len(outputs))

    def difference_interval(self, first: Rows, second: Rows) -> Interval:
        """Return the paired bootstrap interval of the difference in PSNR, in dB."""
        return mean_interval(second.outputs[:, 0] - first.outputs[:, 0])


def _similarity(restored: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    return peak_signal_to_noise_ratio(restored, clean), structural_similarity(restored, clean)
