"""Count parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dsft.measure.example import ExampleInput, batch_size_of, run_example, with_raw_outputs


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters; shared parameters count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, example_input: ExampleInput) -> int:
    """Return the multiply-accumulates of one forward pass per image.

    Convolutions, matrix products and attention are counted, by ``torch.utils.flop_counter`` (two floating-point
    operations are one multiply-accumulate); element-wise operations are not. The second stage of a two-stage detector
    is run on 100 fixed boxes.

    Args:
        module: Any module; its modes are restored.
        example_input: What the module takes; see :func:`dsft.measure.example.run_example`.
    """
    module = with_raw_outputs(module)
    with counting_macs(module) as counter:
        run_example(module, example_input)
    return int(counter.get_total_flops()) // 2 // batch_size_of(example_input)


@contextmanager
def counting_macs(module: nn.Module) -> Iterator[FlopCounterMode]:
    """Count the floating-point operations of a module inside the block."""
    # The counter does not support the fused attention of evaluation mode, nor that of CPUs.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _frozen(module), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Freeze all parameters: the counter hooks module inputs that require a gradient, and fails on their views."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
