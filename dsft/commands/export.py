"""``dsft export``: write a model as a file that runs without dsft, if its outputs agree with the model's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from dsft.artifact.manifest import installed_versions
from dsft.assembly import Network, Source, load_folder, outline_source
from dsft.assembly.named_data import NamedData
from dsft.choices import ExportFormat
from dsft.commands.export_images import CheckImages, CheckSettings, load_check_images
from dsft.data.preprocessing_steps import describe_steps
from dsft.errors import ExportError, ModelError, RecipeError
from dsft.models import load_weights
from dsft.number_format import plural
from dsft.progress import Note, Report, ignore
from dsft.runtimes import (
    TOLERANCE,
    Int8,
    OnnxSession,
    Parity,
    compare_outputs,
    quantize_onnx,
    require_onnx,
    trace_folded,
    write_onnx,
)
from dsft.runtimes.onnx_export import INPUT
from dsft.storage import require_free_file, sha256_of, staged_file, write_json
from dsft.tasks import MetricLayout, Task

Runner = Callable[[Tensor], Tensor]
"""Maps images ``(batch, channels, height, width)`` to the main output of the network."""

_SUFFIXES = {
    ".onnx": ExportFormat.ONNX,
    ".pt2": ExportFormat.TORCH_EXPORT,
    ".safetensors": ExportFormat.SAFETENSORS,
}


@dataclass(frozen=True)
class ExportResult:
    """An exported file.

    Attributes:
        path: The file.
        description: The JSON file beside it.
        form: Format of the file.
        bytes: Size of the file.
        norms_folded: Number of batch norms that were folded into convolutions.
        parity: Comparison of the float32 file with the model.
        int8: Effect of the quantization; None without quantization.
        layout: Names of the task's predictions and scores.
    """

    path: Path
    description: Path
    form: ExportFormat
    bytes: int
    norms_folded: int
    parity: Parity
    int8: Int8 | None
    layout: MetricLayout

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            **{key: value for key, value in vars(self).items() if key != "layout"},
            "path": str(self.path),
            "description": str(self.description),
            "parity": self.parity.to_dict(),
            "int8": self.int8.to_dict() if self.int8 is not None else None,
        }


def run(
    model: Source,
    out: Path,
    *,
    form: ExportFormat | None = None,
    int8: bool = False,
    check: CheckSettings | None = None,
    overwrite: bool = False,
    report: Report = ignore,
) -> ExportResult:
    """Export a model, compare the outputs of the file with the model's, and describe the file in a JSON file beside it.

    Args:
        model: A model or run folder.
        out: The file.
        form: Format of the file; None for the one that the suffix of ``out`` implies.
        int8: Quantize the ONNX file to int8.
        check: The images for the comparison and for the calibration of int8; None for the defaults.
        overwrite: Replace ``out``.
        report: Receives the progress.

    Raises:
        ExportError: The model cannot be exported, or the outputs of the file differ; then it is not kept.
        InputError: The folder, the data or ``out`` is invalid, or a package is missing.
    """
    form = form or format_of(out)
    description = out.with_name(f"{out.name}.json")
    for file in (out, description):
        require_free_file(file, overwrite=overwrite)
    _require_possible(form, int8=int8)
    network = load_folder(Path(model.label), model.read_builder())
    plain = _MainOutput(network.module.float(), network.task).eval()
    images = load_check_images(network, model.label, check or CheckSettings(), report, with_calibration=int8)
    expected = _run(plain, images.batches)
    report(Note(f"writing {out}"))
    with staged_file(out) as staged:
        folded, runner = _write(model, network, plain, form, staged, images.batches[0])
        parity = _compare(network.task, expected, _run(runner, images.batches))
        _require_parity(parity, out)
        quantized = _quantize(staged, network.task, expected, images) if int8 else None
        size, layout = staged.stat().st_size, network.task.scorer.layout
        result = ExportResult(out, description, form, size, folded, parity, quantized, layout)
        document = {**_describe(network, result), "sha256": sha256_of(staged)}
    write_json(description, document)
    return result


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    images: int = 256,
    int8: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> ExportResult:
    """Export a model folder to ONNX, torch.export or safetensors, and check that the file computes the same outputs.

    Batch norms are folded into the convolutions before them. A JSON file beside the file describes inputs, outputs,
    preprocessing and classes.

    Args:
        model: A model folder, such as ``dsft.save`` writes, a run folder, or ``hf/OWNER/NAME``. A network in memory is
            saved with ``dsft.save`` first.
        out: The file; its suffix ``.onnx``, ``.pt2`` or ``.safetensors`` determines the format.
        data: A recipe or a folder of images for the comparison with the model; None for the data that the model
            records, or for noise without any.
        images: Number of images for the comparison, and for the calibration of int8.
        int8: Quantize the ONNX file to int8.
        overwrite: Replace ``out``.
        report: Receives the progress.

    Returns:
        The paths, the size and the differences from the model.

    Raises:
        ExportError: The model cannot be exported, or the outputs of the file differ; then it is not written.
        InputError: The folder, the data or ``out`` is invalid, or a package is missing.
    """
    if isinstance(model, nn.Module):
        raise ModelError(
            f"export: a model folder is needed, found a {type(model).__name__}. Save it first with dsft.save(model, "
            "folder)."
        )
    named = NamedData(os.fspath(data) if data is not None else None)
    check = CheckSettings(named, images=images, calibration_images=images)
    source = Source(os.fspath(model))
    return run(source, Path(out), int8=int8, check=check, overwrite=overwrite, report=report)


def format_of(out: Path) -> ExportFormat:
    """Return the format that the suffix of a file implies.

    Raises:
        RecipeError: The suffix is unknown.
    """
    form = _SUFFIXES.get(out.suffix.lower())
    if form is None:
        raise RecipeError(
            f"--out {str(out)!r}: expected a suffix {', '.join(_SUFFIXES)}. Else set the format with --to."
        )
    return form


def _require_possible(form: ExportFormat, *, int8: bool) -> None:
    if form is ExportFormat.ONNX:
        require_onnx()
    elif int8:
        raise RecipeError(f"--int8: quantizes ONNX files, found --to {form}. Leave --int8 out, or export --to onnx.")


class _MainOutput(nn.Module):
    """A network with its main output as its only one."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self._codec = task.codec

    def forward(self, images: Tensor) -> Tensor:
        return self._codec.split_outputs(self.network(images))[0]


def _run(runner: Runner, batches: Sequence[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([runner(images) for images in batches])


def _write(
    model: Source, network: Network, plain: nn.Module, form: ExportFormat, path: Path, images: Tensor
) -> tuple[int, Runner]:
    """Write the file; return the number of folded batch norms, and a function that runs the file."""
    if form is ExportFormat.SAFETENSORS:
        state = {key: value.contiguous().clone() for key, value in network.module.state_dict().items()}
        path.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        return 0, _weights_runner(model, path, network.task)
    program, folded = trace_folded(plain, images)
    if form is ExportFormat.ONNX:
        write_onnx(program, path, network.task.codec.output_name)
        return folded, OnnxSession(path)
    torch.export.save(program, path)
    return folded, torch.export.load(path).module()


def _weights_runner(model: Source, path: Path, task: Task) -> Runner:
    outline = outline_source(model, meta=False, report=ignore).module
    load_weights(outline, safetensors.torch.load_file(path), f"file {str(path)!r}")
    return _MainOutput(outline, task).eval()


def _compare(task: Task, expected: Tensor, found: Tensor) -> Parity:
    agrees = task.scorer.agrees(expected, found)
    return compare_outputs(expected, found, agrees=agrees, margins=task.scorer.margin(expected.double()))


def _require_parity(parity: Parity, out: Path) -> None:
    if not parity.holds:
        raise ExportError(
            f"{str(out)!r} was not written: on {plural(parity.images, 'image')} its outputs differ from the model's by "
            f"up to {parity.largest_difference:.3g}, which is {parity.relative_difference:.2g} of the largest output "
            f"(at most {TOLERANCE:g} is allowed), and {parity.clear_disagreements} predictions differ by more than "
            "rounding. This is a bug in dsft or in torch: please report it, with the model's folder."
        )


def _quantize(staged: Path, task: Task, expected: Tensor, images: CheckImages) -> Int8:
    """Replace the float32 file by the quantized one, and score it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / staged.name
        quantize_onnx(staged, target, images.calibration)
        staged.write_bytes(target.read_bytes())
    found = _run(OnnxSession(staged), images.batches)
    parity, score = _compare(task, expected, found), task.scorer.layout.main.name
    before, after = (
        task.scorer.monitored_metrics(*task.scorer.reduce(outputs, images.targets))[score]
        if images.targets is not None
        else None
        for outputs in (expected, found)
    )
    count = sum(map(len, images.calibration))
    return Int8(count, score, before, after, parity.agreement, parity.largest_difference)


def _describe(network: Network, result: ExportResult) -> dict[str, Any]:
    """Return what is needed to run the file: inputs, outputs, preprocessing and classes."""
    preprocessing = network.preprocessing
    input_shape = (1, preprocessing.channels, *preprocessing.image_size)
    return {
        "file": result.path.name,
        "format": result.form.value,
        "model": str(network.spec),
        "input": {
            "name": INPUT,
            "shape": ["batch", preprocessing.channels, *preprocessing.image_size],
            "dtype": "float32",
            "layout": "NCHW",
        },
        "output": {
            "name": network.task.codec.output_name,
            "shape": ["batch", *network.task.codec.output_shape(input_shape, network.spec.num_classes)[1:]],
            "dtype": "float32",
        },
        "preprocessing": {**preprocessing.to_dict(), "steps": describe_steps(preprocessing)},
        "classes": list(network.classes) if network.classes is not None else None,
        "task": network.task.name.value,
        "probabilities": network.task.view.activation,
        "norms_folded": result.norms_folded,
        "parity": result.parity.to_dict(),
        "int8": result.int8.to_dict() if result.int8 is not None else None,
        "versions": installed_versions(),
    }
