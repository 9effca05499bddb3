"""Seeds that depend on their purpose only, and not on the random numbers drawn before."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def stable_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that is a hash of ``parts``: the same on every machine and in every process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random generators of Python, NumPy and torch (CPU) and restore their states afterwards.

    The transforms of timm and torchvision use all three.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # torch.manual_seed would also seed the accelerators, whose states are not restored here.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
