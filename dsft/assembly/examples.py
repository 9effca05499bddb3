"""A sample of training examples, and what it says about the input of a network."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dsft.data import Split
from dsft.errors import DataError


def sample_examples(train: Split, count: int) -> list[Any]:
    """Return up to ``count`` readable examples, evenly spaced over a split.

    Raises:
        DataError: None can be read.
    """
    split, examples = train.evenly_spaced(count), list[Any]()
    for index in split.indices:
        with contextlib.suppress(DataError):  # the loader handles unreadable examples
            examples.append(split.source.read(index))
    if not examples:
        split.source.read(split.indices[0])
    return examples


def channel_moments(inputs: Sequence[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of inputs ``(channels, *size)``, whose sizes may differ."""
    values = torch.cat([each.flatten(1) for each in inputs], 1).double()
    return tuple(values.mean(1).tolist()), tuple(values.std(1, correction=0).clamp_min(1e-6).tolist())
