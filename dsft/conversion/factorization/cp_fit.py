"""All three factors of a pointwise-depthwise-pointwise layer fitted to its output, by variable projection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsft.conversion.factorization.coordinate_descent import PatchMoments
from dsft.conversion.factorization.cp_decomposition import CPFactors
from dsft.conversion.factorization.ridge import RIDGE
from dsft.conversion.factorization.weighting import roots_of

STEPS = 60
"""Largest number of steps of L-BFGS."""

LEAST_STEPS = 10

FIT_MACS = 100e9
"""Multiply-accumulates, a few seconds, that the steps of one fit may take. Fewer steps are for wide layers."""

WIDE = 2048
"""Weights of an output from which on the steps are computed in float32, in half the time. Few steps are taken there,
which end far from where its precision would matter."""

DAMPING = 1e-4
"""Added to the diagonal of the system for ``project``, as a share of its mean: two terms that become alike would
otherwise get large opposite weights."""

PLAIN_SHARE = 0.5
"""Share of the identity in the moment of the gradients, which weighs the outputs: the moment is measured on few images,
and an output without a gradient there must not be given up."""


def fit_factors(
    moments: PatchMoments,
    kernel: Tensor,
    start: CPFactors,
    outputs: Tensor,
    ridge: float = RIDGE,
    steps: int | None = None,
) -> CPFactors:
    r"""Fit the factors of one group to what the layer should put out.

    Minimises :math:`\mathrm{tr}(F (W S W^T - 2 C W^T))` over the kernels :math:`W_{m,(c,k)} = \sum_r b_{m,r} a_{r,c}
    d_{r,k}`, with the moments :math:`S = E[x x^T] + \lambda I` of the patches and :math:`C = E[y x^T] + \lambda W_0`
    of the targets. For given :math:`a` and :math:`d` the best :math:`b` is a least-squares solution, so that
    L-BFGS has to find these two alone (variable projection; Golub & Pereyra 1973, "The Differentiation of
    Pseudo-Inverses and Nonlinear Least Squares Problems Whose Variables Separate").

    Args:
        moments: Moments of the group's patches and targets.
        kernel: The dense kernel, ``(outputs, channels * positions)``: what an unseen direction is pulled to.
        start: The factors to start from.
        outputs: What an error of the outputs costs, ``(outputs, outputs)``.
        ridge: Strength of the pull, as a share of the mean variance of the patches.
        steps: Steps of L-BFGS; None for ``STEPS``, or fewer for a wide layer.

    Returns:
        The factors, float64.
    """
    # Importing scipy takes half a second.
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    steps = _affordable_steps(len(moments.patches), len(start.expand)) if steps is None else steps
    spread = moments.patches.diagonal().mean()
    pull = ridge * spread if spread > 0 else torch.ones_like(spread)
    patches = moments.patches + pull * torch.eye(len(moments.patches), dtype=torch.float64)
    dtype = torch.float32 if len(patches) >= WIDE else torch.float64
    problem = _Problem.of(patches, moments.products + pull * kernel.double(), _mixed(outputs), start)
    problem = replace(problem, root=moments.root, pull=float(pull)).to(dtype)
    found = minimize(
        problem.value_and_gradient,
        problem.pack(start.expand.double(), start.depthwise.double()),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-7},
    )
    expand, depthwise = problem.unpack(found.x)
    return CPFactors(expand.double(), depthwise.double(), problem.project(expand, depthwise)[0].double())


def _affordable_steps(features: int, width: int) -> int:
    return min(max(int(FIT_MACS / (width * features**2)), LEAST_STEPS), STEPS)


def _mixed(outputs: Tensor) -> Tensor:
    mean = outputs.diagonal().mean()
    scaled = outputs.double() / torch.where(mean > 0, mean, torch.ones_like(mean))
    return (1 - PLAIN_SHARE) * scaled + PLAIN_SHARE * torch.eye(len(outputs), dtype=torch.float64)


@dataclass(frozen=True)
class _Problem:
    """The least-squares problem as a function of the rows of ``expand`` and ``depthwise``, up to their norms.

    The variables are multiplied by the inverse roots of the moments of channels and positions, in which the problem is
    far better conditioned, and normalised row by row, since ``project`` makes up for any norm.

    Attributes:
        patches: ``(channels * positions, channels * positions)``.
        products: ``(outputs, channels * positions)``.
        weighted: The products times the moment of the outputs.
        outputs: ``(outputs, outputs)``.
        channel_basis: ``(channels, channels)``.
        position_basis: ``(positions, positions)``.
        root: ``(samples, channels * positions)``, see :class:`PatchMoments`; the patches are its product with its own
            transpose and ``pull`` times the identity. None for the patches themselves.
        pull: What is added to the diagonal of the patches.
    """

    patches: Tensor
    products: Tensor
    weighted: Tensor
    outputs: Tensor
    channel_basis: Tensor
    position_basis: Tensor
    root: Tensor | None = None
    pull: float = 0.0

    @classmethod
    def of(cls, patches: Tensor, products: Tensor, outputs: Tensor, start: CPFactors) -> _Problem:
        channels, positions = start.expand.shape[1], start.depthwise.shape[1]
        blocks = patches.reshape(channels, positions, channels, positions)
        of_channels = torch.einsum("ckdk->cd", blocks) / positions
        of_positions = torch.einsum("ckcl->kl", blocks)
        bases = (roots_of(of_channels)[1], roots_of(of_positions / of_positions.diagonal().mean())[1])
        return cls(patches, products, outputs @ products, outputs, *bases)

    def to(self, dtype: torch.dtype) -> _Problem:
        """Return the same problem in another precision."""
        tensors: dict[str, Any] = {
            name: value.to(dtype) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def pack(self, expand: Tensor, depthwise: Tensor) -> NDArray[np.float64]:
        """Return the variables of given factors."""
        rows = (
            torch.linalg.solve(self.channel_basis.double(), expand.T).T,
            torch.linalg.solve(self.position_basis.double(), depthwise.T).T,
        )
        return torch.cat([_unit(each)[0].flatten() for each in rows]).numpy()

    def unpack(self, values: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return the factors of given variables."""
        expand, depthwise = self._split(values)
        return _unit(expand)[0] @ self.channel_basis, _unit(depthwise)[0] @ self.position_basis

    def project(self, expand: Tensor, depthwise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best ``project``, the rank-one kernels, and their products with the patches."""
        terms = (expand.unsqueeze(2) * depthwise.unsqueeze(1)).flatten(1)
        # Of few samples, their own products cost less than their moments.
        seen = terms @ self.patches if self.root is None else terms @ self.root.T @ self.root + self.pull * terms
        gram = seen @ terms.T
        gram = gram + DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        best = torch.cholesky_solve((self.products @ terms.T).T, torch.linalg.cholesky(gram)).T
        return best, terms, seen

    def value_and_gradient(self, values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective at given variables, and its gradient with ``project`` at its best."""
        rows = self._split(values)
        (unit_expand, expand_norms), (unit_depthwise, depthwise_norms) = _unit(rows[0]), _unit(rows[1])
        expand, depthwise = unit_expand @ self.channel_basis, unit_depthwise @ self.position_basis
        project, terms, seen = self.project(expand, depthwise)
        value = -((self.weighted @ terms.T) * project).sum()
        slope = 2 * (project.T @ (self.outputs @ project) @ seen - project.T @ self.weighted)
        slope = slope.reshape(len(terms), self.channel_basis.shape[0], -1)
        gradients = (
            torch.einsum("rck,rk->rc", slope, depthwise) @ self.channel_basis,
            torch.einsum("rck,rc->rk", slope, expand) @ self.position_basis,
        )
        own = (
            _tangent(gradients[0], unit_expand, expand_norms),
            _tangent(gradients[1], unit_depthwise, depthwise_norms),
        )
        return float(value), torch.cat([each.flatten() for each in own]).double().numpy()

    def _split(self, values: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(values).to(self.patches.dtype)
        channels, positions = self.channel_basis.shape[0], self.position_basis.shape[0]
        width = len(both) // (channels + positions)
        return both[: width * channels].reshape(width, -1), both[width * channels :].reshape(width, -1)


def _unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of norm 1, and the norms."""
    norms = rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return rows / norms, norms


def _tangent(gradient: Tensor, unit: Tensor, norms: Tensor) -> Tensor:
    """Return the gradient at rows before they are normalised."""
    return (gradient - (gradient * unit).sum(1, keepdim=True) * unit) / norms
