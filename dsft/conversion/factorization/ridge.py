"""``refit``: the last factor of a layer fitted to what the original layer puts out, by ridge least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dsft.errors import ConversionError

RIDGE = 3e-2
"""Strength of the pull toward the weights from before, as a share of the features' mean variance.

Of 0.001 to 0.1 it brought a ResNet-32 nearest to the original on images that it was not fitted to."""


@dataclass(frozen=True)
class Fit:
    """A linear map with a bias: ``weights`` ``(outputs, features)`` and ``bias`` ``(outputs,)``, float64."""

    weights: Tensor
    bias: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Return ``(samples, outputs)`` for ``(samples, features)``, in the features' number format."""
        return features @ self.weights.to(features).T + self.bias.to(features)


def fit_linear(features: Tensor, targets: Tensor, prior: Tensor, ridge: float = RIDGE) -> Fit:
    r"""Fit targets by features, with a pull toward weights from before.

    :math:`P = (C_{yz} + \lambda P_0)(C_{zz} + \lambda I)^{-1}` and :math:`b = \bar y - P \bar z`. The covariances are
    centred, so the bias is free and takes up every shift of the mean; the pull is toward the prior and not toward
    zero, so that features which were never seen keep the weights that they had. (Zhang et al. 2015, "Accelerating
    Very Deep Convolutional Networks", §3.3, asymmetric reconstruction, with a ridge.)

    Args:
        features: ``(samples, features)``.
        targets: ``(samples, outputs)``.
        prior: Weights from before, ``(outputs, features)``.
        ridge: Strength of the pull, as a share of the features' mean variance.

    Raises:
        ConversionError: Features or targets hold NaN or infinite values.
    """
    return regress(features, prior, ridge)(targets)


def regress(features: Tensor, prior: Tensor, ridge: float = RIDGE) -> Callable[[Tensor], Fit]:
    """Factorise the features once, and return the fit as a function of the targets; see :func:`fit_linear`."""
    mean = features.mean(0)
    centred = features - mean
    # The products of a few ten thousand samples: float32 does them, relative to their size, to about 1e-6.
    covariance = (centred.T @ centred).double() / len(features)
    spread = covariance.diagonal().mean()
    if not spread.isfinite():
        raise ConversionError("the layer's input holds NaN or infinite values on the calibration data.")
    # Features that never change tell nothing: then the weights stay, and the bias alone is fitted.
    pull = ridge * spread if spread > 0 else torch.ones_like(spread)
    system = covariance + pull * torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
    factor = torch.linalg.cholesky(system)
    before = prior.to(system)

    def fit(targets: Tensor) -> Fit:
        target_mean = targets.mean(0)
        products = ((targets - target_mean).T @ centred).double() / len(features)
        if not products.isfinite().all():
            raise ConversionError("the layer's output holds NaN or infinite values on the calibration data.")
        weights = torch.cholesky_solve((products + pull * before).T, factor).T
        return Fit(weights, target_mean.double() - weights @ mean.double())

    return fit
