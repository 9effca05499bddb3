"""``refit``: the factors of ``svd``, then fitted layer by layer to calibration data.

The fit is that of :mod:`dsft.conversion.reconstruction`, which runs the networks; here is what it starts from.
"""

from __future__ import annotations

from dataclasses import replace

from dsft.conversion.factorization.svd import SVD

REFIT = replace(SVD, needs_calibration=True)
