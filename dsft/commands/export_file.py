"""Exported files: written, run, compared with their model, and quantized."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.assembly import Network
from dsft.choices import ExportFormat, TargetKind
from dsft.commands.check_inputs import CheckInputs
from dsft.conversion import copy_network
from dsft.errors import DataError, ExportError
from dsft.models import load_weights
from dsft.number_format import plural
from dsft.runtimes import (
    FILE_FORMATS,
    TOLERANCE,
    DropLimit,
    FileFormat,
    Int8,
    Parity,
    compare_outputs,
    input_shape,
    quantize_file,
    trace_folded,
)
from dsft.tasks import Task

Runner = Callable[[Tensor], Tensor]
"""Maps images ``(batch, channels, height, width)`` to the main output of the network."""


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written.

    Attributes:
        norms_folded: Number of batch norms that were folded.
        run: Runs the file.
        shape: Shape of the images that the file takes, with 0 for sizes that may vary.
        program: The traced network that it holds; None if it holds weights alone.
    """

    norms_folded: int
    run: Runner
    shape: tuple[int, ...]
    program: ExportedProgram | None = None


class MainOutput(nn.Module):
    """A network with its main output as its only one."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.codec = task.codec

    def forward(self, images: Tensor) -> Tensor:
        """Return the main output for images ``(batch, channels, height, width)``."""
        return self.codec.split_outputs(self.network(images))[0]


def run_batches(runner: Runner, batches: Sequence[Tensor]) -> Tensor:
    """Return the outputs of all batches as one tensor."""
    with torch.inference_mode():
        return torch.cat([runner(images) for images in batches])


def write_file(network: Network, plain: MainOutput, form: ExportFormat, path: Path, images: Tensor) -> WrittenFile:
    """Write a network as a file.

    Args:
        network: The network, on the CPU, in evaluation mode.
        plain: The same network with one output.
        form: Format of the file.
        path: The file.
        images: A batch that the network is traced with.

    Raises:
        ExportError: torch cannot trace the network, or the format has no counterpart for one of its operators.
    """
    if form is ExportFormat.SAFETENSORS:
        state = {key: value.contiguous().clone() for key, value in network.module.state_dict().items()}
        path.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        return WrittenFile(0, _weights_runner(network, path), (0, *images.shape[1:]))
    _, file_format = FILE_FORMATS[form]
    if network.task.codec.target_kind is TargetKind.IMAGE and file_format.has_dynamic_batch:
        try:
            return _write_traced(plain, file_format, path, images, any_size=True)
        except ExportError:  # the network computes with sizes, and the format has no operator for that
            pass
    return _write_traced(plain, file_format, path, images, any_size=False)


def _write_traced(
    plain: MainOutput, file_format: FileFormat, path: Path, images: Tensor, *, any_size: bool
) -> WrittenFile:
    # A file for a fixed batch size takes one image.
    example = images if file_format.has_dynamic_batch else images[:1]
    program, folded = trace_folded(plain, example, dynamic_batch=file_format.has_dynamic_batch, any_size=any_size)
    file_format.write(program, path, plain.codec.output_name)
    return WrittenFile(folded, file_format.load(path, 0), input_shape(program), program)


def _weights_runner(network: Network, path: Path) -> Runner:
    """Return a function that runs a copy of the network with the weights of a file alone."""
    outline = copy_network(network.module)
    for tensor in outline.state_dict().values():
        tensor.zero_()
    load_weights(outline, safetensors.torch.load_file(path), f"file {str(path)!r}")
    return MainOutput(outline, network.task).eval()


def compare(task: Task, expected: Tensor, found: Tensor) -> Parity:
    """Compare outputs ``(images, ...)`` of a file with those of the model."""
    agrees = task.scorer.agrees(expected, found)
    return compare_outputs(
        expected, task.scorer.align(expected, found), agrees=agrees, margins=task.scorer.margin(expected.double())
    )


def require_parity(parity: Parity, out: Path) -> None:
    """Refuse a file whose outputs differ from the model's by more than rounding.

    Raises:
        ExportError: They do.
    """
    if not parity.holds:
        raise ExportError(
            f"{str(out)!r} was not written: on {plural(parity.images, 'input')} its outputs differ from the model's by "
            f"up to {parity.largest_difference:.3g}, which is {parity.relative_difference:.2g} of the largest output "
            f"(at most {TOLERANCE:g} is allowed), and {parity.clear_disagreements} predictions differ by more than "
            "rounding. This is a bug in dsft or in torch: please report it, with the model's folder."
        )


def quantize_within(
    form: ExportFormat,
    program: ExportedProgram,
    target: Path,
    task: Task,
    images: CheckInputs,
    max_drop: float | None,
) -> tuple[str, ...]:
    """Write the quantized file of a :class:`MainOutput`, with a limit on what it may lose on the calibration images.

    Args:
        form: Format of the file.
        program: The traced network.
        target: The new file.
        task: The task.
        images: They include calibration images.
        max_drop: Largest drop of the task's main score, in the unit that tables have: points or dB. None for any.

    Returns:
        The names of the layers that remain in float32, as the network names them where the format records that.

    Raises:
        DataError: There is a limit, and the model has no class table, so it has no score.
        ExportError: The file cannot be quantized.
    """
    limit = _drop_limit(task, images, max_drop)
    kept = quantize_file(form, program, task.codec.output_name, target, images.calibration, limit)
    return tuple(name.removeprefix("network.") for name in kept)


def _drop_limit(task: Task, images: CheckInputs, largest: float | None) -> DropLimit | None:
    targets, score = images.calibration_targets, task.scorer.layout.main
    if largest is None:
        return None
    if targets is None:
        raise DataError(
            f"--max-drop {largest:g}: limits the loss of {score.label}, and a model without a class table has no "
            "score. Convert it with --classes, or leave --max-drop out."
        )

    def compute(outputs: Tensor, positions: Sequence[int]) -> float:
        rows = task.scorer.reduce(outputs.float(), targets[list(positions)])
        return task.scorer.monitored_metrics(*rows)[score.name]

    return DropLimit(compute, largest / score.points)


def quantize(
    form: ExportFormat,
    program: ExportedProgram,
    staged: Path,
    task: Task,
    expected: Tensor,
    images: CheckInputs,
    max_drop: float | None,
) -> Int8:
    """Replace the float32 file by the quantized one, and score it.

    Args:
        form: Format of the file.
        program: The network that was written to the file.
        staged: The file.
        task: The task.
        expected: Outputs of the float32 model for the images of the parity check.
        images: The images of the check and of the calibration.
        max_drop: See :func:`quantize_within`.
    """
    _, file_format = FILE_FORMATS[form]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / staged.name
        kept = quantize_within(form, program, target, task, images, max_drop)
        for old, new in zip(file_format.files(staged), file_format.files(target), strict=True):
            old.write_bytes(new.read_bytes())
    found = run_batches(file_format.load(staged, 0), images.batches)
    parity, score = compare(task, expected, found), task.scorer.layout.main.name
    before, after = (
        task.scorer.monitored_metrics(*task.scorer.reduce(outputs, images.targets))[score]
        if images.targets is not None
        else None
        for outputs in (expected, found)
    )
    count = sum(map(len, images.calibration))
    return Int8(count, score, before, after, parity.agreement, parity.largest_difference, kept)
