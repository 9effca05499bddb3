"""What a runtime can do: run modules to be timed, write and load files, and quantize them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.choices import ExportFormat
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.measure.example import ExampleInput
from dsft.runtimes.interleaved_timing import Run

INPUT = "images"
"""Name of the input of exported files."""

Opener = Callable[[Sequence[nn.Module], Sequence[ExampleInput], Compute, int], AbstractContextManager[list[Run]]]
"""Yields the forward pass of each module on its example input, with a number of threads."""

Session = Callable[[Tensor], Tensor]
"""Maps images ``(batch, channels, height, width)`` to the main output ``(batch, ...)``, both float32 on the CPU."""


@dataclass(frozen=True)
class DropLimit:
    """How much of a score a quantization may lose on its calibration images.

    Attributes:
        score: Returns the score of main outputs ``(images, ...)`` of the calibration images at the given positions;
            higher is better.
        largest: Largest drop below the score of the float32 file, in the unit of the score.
    """

    score: Callable[[Tensor, Sequence[int]], float]
    largest: float


@dataclass(frozen=True)
class FileFormat:
    """The files of a runtime.

    Attributes:
        form: Name of the format.
        suffix: Suffix of the file.
        write: Writes a traced network to a path, with a name for its output if the format has names.
        load: Loads a file with a number of threads, 0 for the runtime's choice. It raises ``ModelError`` for a file
            that the runtime cannot run.
        further_suffixes: Suffixes of the files that ``write`` adds beside the file.
        has_dynamic_batch: A file takes batches of any size; else it takes those of the size that it was traced with,
            and its session splits larger ones.
        is_trusted: Loading a file runs no code that it contains, so a file from elsewhere can be loaded.
    """

    form: ExportFormat
    suffix: str
    write: Callable[[ExportedProgram, Path, str], None]
    load: Callable[[Path, int], Session]
    further_suffixes: tuple[str, ...] = ()
    has_dynamic_batch: bool = True
    is_trusted: bool = True

    def files(self, path: Path) -> tuple[Path, ...]:
        """Return the path and those of the files beside it that belong to it."""
        return (path, *(path.with_suffix(suffix) for suffix in self.further_suffixes))


@dataclass(frozen=True)
class RuntimeSupport:
    """What a runtime can do.

    Attributes:
        open: Prepares modules to be run.
        require_usable: Raises ``ModelError`` if a package or a compiler is missing.
        packages: Distributions whose versions determine the measured times.
        file_format: Its files; None if it has none of its own.
        dtypes: Number formats of weights, such as ``float32``; None for all of torch's.
        device_types: Types of device; None for all of torch's.
        times_layers: Layers can be timed one by one for the plan of a budget. A compiler fuses layers, so that the
            times of single layers do not add up, and takes seconds for each candidate.
        uses_compute: Applies the autocast and the memory layout of :class:`~dsft.devices.Compute`; other runtimes have
            their own.
    """

    open: Opener
    require_usable: Callable[[], None]
    packages: tuple[str, ...]
    file_format: FileFormat | None = None
    dtypes: tuple[str, ...] | None = None
    device_types: tuple[str, ...] | None = None
    times_layers: bool = True
    uses_compute: bool = True

    @property
    def required_file_format(self) -> FileFormat:
        """Its files.

        Raises:
            ModelError: It has none of its own.
        """
        if self.file_format is None:
            raise ModelError("the runtime has no files of its own. Choose another runtime.")
        return self.file_format

    def supports_dtype(self, dtype: torch.dtype) -> bool:
        """Whether weights may have this number format."""
        return self.dtypes is None or dtype_name(dtype) in self.dtypes

    def supports_device(self, device: torch.device) -> bool:
        """Whether networks can run on this device."""
        return self.device_types is None or device.type in self.device_types


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a number format, such as ``float32``."""
    return str(dtype).removeprefix("torch.")
