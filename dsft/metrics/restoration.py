"""Metrics of restored images: peak signal-to-noise ratio (PSNR) and structural similarity (SSIM)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dsft.metrics.significance import Interval

_LUMINANCE = (65.481, 128.553, 24.966)
_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_RESAMPLES = 1000
_LEAST_ERROR = 1e-10  # of equal images, whose PSNR would be infinite: 100 dB


def peak_signal_to_noise_ratio(restored: Tensor, targets: Tensor) -> Tensor:
    """Return ``10 log10(1 / MSE)`` of each image in dB; at most 100 dB.

    Args:
        restored: ``(images, channels, height, width)``, 0 to 1.
        targets: The clean images, in the same shape.

    Returns:
        ``(images,)``, float64.
    """
    error = (restored.double() - targets.double()).square().flatten(1).mean(1)
    return -10 * error.clamp_min(_LEAST_ERROR).log10()


def structural_similarity(restored: Tensor, targets: Tensor) -> Tensor:
    """Return the mean SSIM of each image: Wang et al. 2004, "Image quality assessment", eq. 13, with its constants.

    The window is Gaussian, 11 x 11 pixels with a standard deviation of 1.5; at the borders it sees the image reflected,
    as in torchmetrics. In an image with a smaller side the window is reduced. Channels are averaged.

    Args:
        restored: ``(images, channels, height, width)``, 0 to 1.
        targets: The clean images, in the same shape.

    Returns:
        ``(images,)``, float64.
    """
    one, two = restored.double(), targets.double()
    windows = [_gaussian(min(_WINDOW, side - 1 + side % 2), one) for side in one.shape[-2:]]
    rows_beyond, columns_beyond = (len(window) // 2 for window in windows)
    beyond = (columns_beyond, columns_beyond, rows_beyond, rows_beyond)

    def local_mean(values: Tensor) -> Tensor:
        planes = functional.pad(values, beyond, mode="reflect").flatten(0, 1)[:, None]
        rows = functional.conv2d(planes, windows[0].reshape(1, 1, -1, 1))
        return functional.conv2d(rows, windows[1].reshape(1, 1, 1, -1)).reshape(*values.shape[:2], -1)

    mean_one, mean_two = local_mean(one), local_mean(two)
    variances = local_mean(one * one) - mean_one**2 + local_mean(two * two) - mean_two**2
    covariance = local_mean(one * two) - mean_one * mean_two
    c1, c2 = _K1**2, _K2**2
    luminance = (2 * mean_one * mean_two + c1) / (mean_one**2 + mean_two**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean((1, 2))


def luminance(images: Tensor) -> Tensor:
    """Return the channel Y of images, on which super-resolution is usually scored.

    This is that of ITU-R BT.601 in its range from 16 to 235 of 255, as in MATLAB's ``rgb2ycbcr``.

    Args:
        images: ``(images, 3, height, width)``, red, green and blue, 0 to 1.

    Returns:
        ``(images, 1, height, width)``, 16/255 to 235/255.
    """
    weights = torch.tensor(_LUMINANCE, dtype=images.dtype, device=images.device).reshape(3, 1, 1)
    return (16 + (images * weights).sum(1, keepdim=True)) / 255


def mean_interval(values: Tensor) -> Interval:
    """Return the 95 % confidence interval of the mean of ``(images,)``: a percentile bootstrap over the images."""
    images = len(values)
    draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), _RESAMPLES)
    low, high = np.percentile(draws @ values.double().numpy() / images, [2.5, 97.5])
    return float(low), float(high)


def _gaussian(size: int, like: Tensor) -> Tensor:
    distances = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-(distances**2) / (2 * _SIGMA**2))
    return weights / weights.sum()
