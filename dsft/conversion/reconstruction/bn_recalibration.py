"""Recalibrate the running statistics of batch norms, and keep the result only if it reduces the error."""

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

BATCHES_PER_HELD_OUT = 16
"""One batch in this many is held out from the fit; with fewer batches, none is."""


def hold_out(batches: Sequence[ExampleInput]) -> tuple[Sequence[ExampleInput], Sequence[ExampleInput]]:
    """Split batches into those that a network is fitted to, and those held out to validate it (possibly none)."""
    count = len(batches) // BATCHES_PER_HELD_OUT
    return batches[: len(batches) - count], batches[len(batches) - count :]


def recalibrate_batchnorm(
    original: nn.Module,
    converted: nn.Module,
    batches: Sequence[ExampleInput],
    held_out: Sequence[ExampleInput],
    report: Report = ignore,
) -> bool:
    """Re-estimate the running statistics of batch norms, and keep them only if the outputs get closer to the original.

    The statistics are the means over the batches of what each batch norm sees (Ioffe & Szegedy 2015, "Batch
    Normalization", alg. 2). After a layer-wise reconstruction they often increase the error.

    Args:
        original: The dense network.
        converted: The converted copy; its statistics are changed in place, or left unchanged.
        batches: Inputs that the statistics are estimated on.
        held_out: Other inputs, on which the outputs of both networks are compared; without them nothing is changed.
        report: Receives a note if the new statistics are kept.

    Returns:
        Whether the new statistics were kept.
    """
    norms = [module for module in converted.modules() if isinstance(module, BatchNorm) and _has_statistics(module)]
    if not norms or not held_out:
        return False
    before = _output_error(original, converted, held_out)
    saved = [{name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms]
    is_estimated = _estimate(converted, norms, batches)
    after = _output_error(original, converted, held_out) if is_estimated else math.inf
    is_better = after < before
    for norm, buffers in zip(norms, saved, strict=True):
        # num_batches_tracked counts training steps, and this is no training.
        restored = ["num_batches_tracked"] if is_better else list(buffers)
        for name in set(restored) & set(buffers):
            norm.get_buffer(name).copy_(buffers[name])
    if is_better:
        report(Note(f"BatchNorm statistics recalibrated: error on held-out inputs {before:.3f} -> {after:.3f}."))
    return is_better


def _has_statistics(module: BatchNorm) -> bool:
    return module.track_running_stats and module.running_mean is not None


def _estimate(model: nn.Module, norms: Sequence[BatchNorm], batches: Sequence[ExampleInput]) -> bool:
    """Set the statistics to the means over batches; False if a norm cannot take a batch."""
    try:
        with evaluation_mode(model), _cumulative(norms), torch.no_grad():
            for batch in batches:
                call(model, batch)
    except (RuntimeError, ValueError):
        # A single value per channel has no variance, and SyncBatchNorm needs a process group.
        return False
    return True


@contextmanager
def _cumulative(norms: Sequence[BatchNorm]) -> Iterator[None]:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # Without momentum they are the cumulative mean over the batches.
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _output_error(original: nn.Module, converted: nn.Module, batches: Sequence[ExampleInput]) -> float:
    """Return the relative error of the outputs; NaN if they cannot be compared."""
    error = size = 0.0
    for batch in batches:
        expected, found = _outputs(original, batch), _outputs(converted, batch)
        if [each.shape for each in expected] != [each.shape for each in found]:
            return math.nan
        error += sum(float((a - b).square().sum()) for a, b in zip(expected, found, strict=True))
        size += sum(float(a.square().sum()) for a in expected)
    return math.sqrt(error / size) if size else math.nan


def _outputs(model: nn.Module, batch: ExampleInput) -> list[Tensor]:
    leaves = tree_leaves(run_example(model, batch))
    # On the CPU, since not every device has float64.
    return [leaf.cpu().double() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
