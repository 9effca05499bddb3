"""How a conversion came about, besides its plan."""

from __future__ import annotations

from dataclasses import dataclass

from dsft.conversion.planning.accuracy_search import Trial
from dsft.conversion.reconstruction.recovery import Recovery


@dataclass(frozen=True)
class ConversionHistory:
    """What was tried and trained.

    Attributes:
        trials: The budgets that were tried, where the loss of score was limited.
        recovery: What the recovery did; None without one.
    """

    trials: tuple[Trial, ...] = ()
    recovery: Recovery | None = None
