"""The runtimes that can run a network, and the capabilities of each.

A new runtime is one file with a function like :func:`~dsft.runtimes.torch_runtimes.open_eager`, one name in
:class:`~dsft.choices.Runtime` and one entry in :data:`RUNTIMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.measure.example import ExampleInput, evaluation_mode
from dsft.runtimes.interleaved_timing import Run, fixed_threads
from dsft.runtimes.onnx_runtime import require_onnx
from dsft.runtimes.onnx_sessions import open_sessions
from dsft.runtimes.torch_runtimes import open_compiled, open_eager

Opener = Callable[[Sequence[nn.Module], Sequence[ExampleInput], Compute, int], AbstractContextManager[list[Run]]]
"""Yields the forward pass of each module on its example input, with a number of threads."""


@dataclass(frozen=True)
class RuntimeSupport:
    """What a runtime can do.

    Attributes:
        open: Prepares modules to be run.
        require_installed: Raises ``ModelError`` if a package is missing.
        packages: Distributions whose versions determine the measured times.
        dtypes: Number formats of weights, such as ``float32``; None for all of torch's.
        device_types: Types of device; None for all of torch's.
        times_layers: Layers can be timed one by one for the plan of a budget. A compiler fuses layers, so that the
            times of single layers do not add up, and takes seconds for each candidate.
        uses_compute: Applies the autocast and the memory layout of :class:`~dsft.devices.Compute`; other runtimes have
            their own.
    """

    open: Opener
    require_installed: Callable[[], None]
    packages: tuple[str, ...]
    dtypes: tuple[str, ...] | None = None
    device_types: tuple[str, ...] | None = None
    times_layers: bool = True
    uses_compute: bool = True

    def supports_dtype(self, dtype: torch.dtype) -> bool:
        """Whether weights may have this number format."""
        return self.dtypes is None or dtype_name(dtype) in self.dtypes

    def supports_device(self, device: torch.device) -> bool:
        """Whether networks can run on this device."""
        return self.device_types is None or device.type in self.device_types


def _always_installed() -> None:
    pass


RUNTIMES = {
    Runtime.EAGER: RuntimeSupport(open_eager, _always_installed, ("torch",)),
    Runtime.COMPILED: RuntimeSupport(open_compiled, _always_installed, ("torch",), times_layers=False),
    Runtime.ONNXRUNTIME: RuntimeSupport(
        open_sessions,
        require_onnx,
        ("torch", "onnxruntime", "onnxscript"),
        dtypes=("float32",),
        device_types=("cpu",),
        uses_compute=False,
    ),
}


@contextmanager
def open_runs(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,
    runtime: Runtime = Runtime.EAGER,
    *,
    threads: int = 1,
) -> Iterator[list[Run]]:
    """Yield the forward pass of each module, in evaluation mode and without gradients.

    Args:
        modules: The modules, on the device.
        example_inputs: The input of each, on the device.
        compute: The device and the number format.
        runtime: What runs the modules.
        threads: Number of threads per operator.

    Raises:
        ModelError: The runtime is not installed, does not support the device or a number format, or cannot run the
            modules.
    """
    require_supported(runtime, modules, compute)
    opened = RUNTIMES[runtime].open
    with (
        fixed_threads(threads),
        torch.no_grad(),
        evaluation_mode(nn.ModuleList(modules)),
        opened(modules, example_inputs, compute, threads) as runs,
    ):
        yield runs


def require_supported(runtime: Runtime, modules: Sequence[nn.Module], compute: Compute) -> None:
    """Check that a runtime is installed and can run modules on a device.

    Raises:
        ModelError: A package is missing, or the device or the number format of a weight is not supported.
    """
    support = RUNTIMES[runtime]
    support.require_installed()
    weights = (weight.dtype for module in modules for weight in module.parameters() if weight.is_floating_point())
    dtype = next((each for each in weights if not support.supports_dtype(each)), torch.float32)
    if not support.supports_device(compute.device) or not support.supports_dtype(dtype):
        devices, dtypes = ("/".join(names or ("any",)) for names in (support.device_types, support.dtypes))
        raise ModelError(
            f"runtime {runtime}: supports device {devices} and dtype {dtypes}, found {compute.device.type} and "
            f"{dtype_name(dtype)}. Choose the device {devices}, or the runtime eager."
        )


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a number format, such as ``float32``."""
    return str(dtype).removeprefix("torch.")
