"""What runs a module while it is timed: torch as it is, or ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.measure.example import ExampleInput, call, evaluation_mode
from dsft.runtimes.interleaved_timing import Run, fixed_threads


@contextmanager
def open_runs(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    runtime: Runtime = Runtime.EAGER,
) -> Iterator[list[Run]]:
    """Yield the forward pass of each module, in evaluation mode, with one thread and without gradients.

    Args:
        modules: What is run.
        example_inputs: The input of each, on the device.
        compute: The device and the number format.
        runtime: What runs them; ONNX Runtime gets all of them in one export, and computes in their own format.

    Raises:
        ModelError: ONNX Runtime is not installed, or cannot run the modules.
    """
    with fixed_threads(1), torch.no_grad(), evaluation_mode(nn.ModuleList(modules)):
        if runtime is Runtime.EAGER:
            with compute.autocast():
                yield [
                    lambda module=module, example=example: call(module, example)  # type: ignore[misc]
                    for module, example in zip(modules, example_inputs, strict=True)
                ]
            return
        # Only where it is asked for: it is optional, and its import takes seconds.
        from dsft.runtimes.onnx_sessions import open_sessions

        with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
            yield open_sessions(modules, example_inputs, compute, Path(folder))
