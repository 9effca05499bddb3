"""The statistics of a converted network's batch norms, measured anew where that brings it nearer to the original."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dsft.compat.torch_modules import BatchNorm
from dsft.compat.torch_pytree import tree_leaves
from dsft.measure.example import ExampleInput, call, evaluation_mode, run_example
from dsft.progress import Note, Report, ignore

SET_ASIDE = 16
"""Of so many batches one is set aside; with fewer than so many none is."""


def set_aside(batches: Sequence[ExampleInput]) -> tuple[Sequence[ExampleInput], Sequence[ExampleInput]]:
    """Return the batches that a network is fitted to, and those that judge the outcome, of which there may be none."""
    count = len(batches) // SET_ASIDE
    return batches[: len(batches) - count], batches[len(batches) - count :]


def renew_norms(
    original: nn.Module,
    converted: nn.Module,
    batches: Sequence[ExampleInput],
    judges: Sequence[ExampleInput],
    report: Report = ignore,
) -> bool:
    """Measure the statistics of the batch norms anew, and keep them only where the answers get better by it.

    They are the means over the batches of what each norm sees (Ioffe & Szegedy 2015, "Batch Normalization", alg. 2).
    After a fit that already makes each layer's output come out right they often do harm.

    Args:
        original: The dense network.
        converted: The converted copy; its statistics are changed in place, or left as they were.
        batches: Inputs that the statistics are measured on.
        judges: Other inputs, on which both networks' answers are compared; without them nothing is changed.
        report: Receives a note where the new statistics are kept.

    Returns:
        Whether the new statistics were kept.
    """
    norms = [module for module in converted.modules() if isinstance(module, BatchNorm) and _has_statistics(module)]
    if not norms or not judges:
        return False
    before = _distance(original, converted, judges)
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms]
    is_measured = _measure(converted, norms, batches)
    after = _distance(original, converted, judges) if is_measured else math.inf
    is_better = after < before
    for norm, buffers in zip(norms, kept, strict=True):
        # Steps are not counted in what is no training.
        restored = ["num_batches_tracked"] if is_better else list(buffers)
        for name in set(restored) & set(buffers):
            norm.get_buffer(name).copy_(buffers[name])
    if is_better:
        report(Note(f"batch norms measured anew: error on images set aside {before:.3f}, then {after:.3f}."))
    return is_better


def _has_statistics(module: BatchNorm) -> bool:
    return module.track_running_stats and module.running_mean is not None


def _measure(model: nn.Module, norms: Sequence[BatchNorm], batches: Sequence[ExampleInput]) -> bool:
    """Fill the statistics with the means over batches; False where a norm cannot take a batch."""
    try:
        with evaluation_mode(model), _averaging(norms), torch.no_grad():
            for batch in batches:
                call(model, batch)
    except (RuntimeError, ValueError):
        # One value for each channel has no variance, and norms over several processes run nowhere else.
        return False
    return True


@contextmanager
def _averaging(norms: Sequence[BatchNorm]) -> Iterator[None]:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # Without a momentum they are the plain mean over the batches.
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _distance(original: nn.Module, converted: nn.Module, batches: Sequence[ExampleInput]) -> float:
    """Return how far the answers are from the original's, relative to their size; NaN where they cannot be compared."""
    error = size = 0.0
    for batch in batches:
        wanted, found = _answers(original, batch), _answers(converted, batch)
        if [each.shape for each in wanted] != [each.shape for each in found]:
            return math.nan
        error += sum(float((a - b).square().sum()) for a, b in zip(wanted, found, strict=True))
        size += sum(float(a.square().sum()) for a in wanted)
    return math.sqrt(error / size) if size else math.nan


def _answers(model: nn.Module, batch: ExampleInput) -> list[Tensor]:
    leaves = tree_leaves(run_example(model, batch))
    return [leaf.double() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
