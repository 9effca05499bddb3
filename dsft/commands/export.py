"""``dsft export``: write a model as a file that runs without dsft, if its outputs agree with the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsft.artifact.locate import find_model_folder
from dsft.artifact.manifest import WEIGHTS_FILE, installed_versions
from dsft.assembly import Network, Source, load_folder
from dsft.assembly.exported_file import checksums, describe_network, description_of
from dsft.assembly.network import as_network
from dsft.assembly.own_network import InputFormat, copy_own, with_classes
from dsft.choices import ExportFormat
from dsft.commands.check_inputs import CheckSettings, load_check_inputs
from dsft.commands.export_file import MainOutput, compare, quantize, require_parity, run_batches, write_file
from dsft.data.inputs import INPUTS
from dsft.errors import OutputError, RecipeError
from dsft.progress import Note, Report, ignore
from dsft.runtimes import FILE_FORMATS, RUNTIMES, Int8, Parity, require_int8
from dsft.runtimes.runtime import INPUT
from dsft.storage import require_free_file, sha256_of, staged_file, write_json
from dsft.tasks import CLASSIFICATION, MetricLayout, Task

_SUFFIXES = {
    **{file_format.suffix: form for form, (_, file_format) in FILE_FORMATS.items()},
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


@dataclass(frozen=True)
class ExportSettings:
    """How a file is exported.

    Attributes:
        form: Format of the file; None for the one that its suffix implies.
        int8: Quantize the file to int8, of a format that can be.
        max_drop: Largest loss of the main score by int8 on the calibration images, in points or dB; layers are kept in
            float32 until it is met. None for any.
        check: The inputs for the comparison and for the calibration of int8.
        overwrite: Replace an existing file.
    """

    form: ExportFormat | None = None
    int8: bool = False
    max_drop: float | None = None
    check: CheckSettings = field(default_factory=CheckSettings)
    overwrite: bool = False


DEFAULTS = ExportSettings()


def run(model: Source, out: Path, settings: ExportSettings = DEFAULTS, report: Report = ignore) -> ExportResult:
    """Export a model, compare the outputs of the file with the model's, and describe the file in a JSON file beside it.

    Args:
        model: A model or run folder.
        out: The file.
        settings: Its format, and how it is checked.
        report: Receives the progress.

    Raises:
        ExportError: The model cannot be exported, or the outputs of the file differ; then it is not kept.
        InputError: The folder, the data or ``out`` is invalid, or a package is missing.
    """
    form = _require_possible(out, settings)
    folder = find_model_folder(Path(model.label))
    if out.resolve() == (folder / WEIGHTS_FILE).resolve():
        raise OutputError(f"--out {str(out)!r}: holds the weights of the model itself. Choose another file.")
    network = load_folder(Path(model.label), model.read_builder())
    return _export(network, model.label, out, form, settings, report)


def run_module(
    module: nn.Module,
    out: Path,
    settings: ExportSettings = DEFAULTS,
    *,
    classes: Sequence[str] | None = None,
    task: Task = CLASSIFICATION,
    image_size: int | None = None,
    report: Report = ignore,
) -> ExportResult:
    """Export a copy of a network in memory; see :func:`run`.

    Args:
        module: The network; it is left unchanged.
        out: The file.
        settings: Its format, and how it is checked.
        classes: Names of the network's outputs; None if they are unknown.
        task: What its outputs mean.
        image_size: Side of the images in pixels; None for what the network states in ``pretrained_cfg``, or 224.
        report: Receives the progress.
    """
    form, name = _require_possible(out, settings), type(module).__name__
    loaded = with_classes(copy_own(module, name, InputFormat(image_size), task), tuple(classes) if classes else None)
    return _export(as_network(loaded), name, out, form, settings, report)


def _export(
    network: Network, name: str, out: Path, form: ExportFormat, settings: ExportSettings, report: Report
) -> ExportResult:
    plain = MainOutput(network.module.float(), network.task).eval()
    images = load_check_inputs(network, name, settings.check, report, with_calibration=settings.int8)
    expected = run_batches(plain, images.batches)
    report(Note(f"writing {out}"))
    further = _further_suffixes(form)
    with staged_file(out, further) as staged:
        written = write_file(network, plain, form, staged, images.batches[0])
        parity = compare(network.task, expected, run_batches(written.run, images.batches))
        require_parity(parity, out)
        quantized = None
        if settings.int8 and written.program is not None:
            what = (form, written.program, staged, network.task)
            quantized = quantize(*what, expected, images, settings.max_drop)
        files = [staged, *(staged.with_suffix(suffix) for suffix in further)]
        size, layout = sum(file.stat().st_size for file in files), network.task.scorer.layout
        result = ExportResult(out, description_of(out), form, size, written.norms_folded, parity, quantized, layout)
        document = {
            **_describe(network, result, written.shape, images.batches[0].dtype),
            **describe_network(network, images.batches[0][:1]),
            "sha256": sha256_of(staged),
            "checksums": checksums(files),
        }
    write_json(result.description, document)
    return result


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


def _require_possible(out: Path, settings: ExportSettings) -> ExportFormat:
    """Check what can be checked without the model, and return the format."""
    form = settings.form or format_of(out)
    if (implied := _SUFFIXES.get(out.suffix.lower(), form)) is not form:
        raise RecipeError(f"--out {str(out)!r}: is a name for {implied}, and --to says {form}. Change one of the two.")
    further = _further_suffixes(form)
    for file in (out, *(out.with_suffix(suffix) for suffix in further), description_of(out)):
        require_free_file(file, overwrite=settings.overwrite)
    if form in FILE_FORMATS:
        runtime, file_format = FILE_FORMATS[form]
        RUNTIMES[runtime].require_usable()
        if further and out.suffix != file_format.suffix:
            raise RecipeError(
                f"--out {str(out)!r}: {runtime} expects the suffix {file_format.suffix}, beside {', '.join(further)}. "
                "Rename it."
            )
    if settings.int8:
        require_int8(form)
    if settings.max_drop is not None and not settings.int8:
        raise RecipeError(f"--max-drop {settings.max_drop:g}: limits what --int8 loses. Add --int8, or leave it out.")
    return form


def _further_suffixes(form: ExportFormat) -> tuple[str, ...]:
    return FILE_FORMATS[form][1].further_suffixes if form in FILE_FORMATS else ()


_LAYOUTS = {2: "NL", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
"""Names of the axes of inputs, by their number."""

_AXES = {2: ("length",), 3: ("channels", "length"), 5: ("channels", "depth", "height", "width")}
"""Names of the axes of inputs that are no images, by the number of all with that of the batch."""


def _with_names(shape: tuple[int, ...]) -> list[int | str]:
    """Return a shape with names for sizes that may vary."""
    names = ("batch", *_AXES.get(len(shape), ("channels", "height", "width")))
    return [size or name for size, name in zip(shape, names, strict=False)]


def _describe(network: Network, result: ExportResult, images: tuple[int, ...], dtype: torch.dtype) -> dict[str, Any]:
    """Return what is needed to run the file: inputs, outputs, preprocessing and classes."""
    preprocessing, codec = network.preprocessing, network.task.codec
    return {
        "file": result.path.name,
        "format": result.form.value,
        "model": str(network.spec),
        "input": {
            "name": INPUT,
            "shape": _with_names(images),
            "dtype": str(dtype).removeprefix("torch."),
            "layout": _LAYOUTS.get(len(images), "NC"),
        },
        "output": {
            "name": codec.output_name,
            "shape": _with_names(codec.output_shape(images, network.spec.num_classes)),
            "dtype": "float32",
        },
        "preprocessing": {**preprocessing.to_dict(), "steps": INPUTS[preprocessing.kind].describe_steps(preprocessing)},
        "classes": list(network.classes) if network.classes is not None else None,
        "task": network.task.name.value,
        "probabilities": network.task.view.activation,
        "norms_folded": result.norms_folded,
        "parity": result.parity.to_dict(),
        "int8": result.int8.to_dict() if result.int8 is not None else None,
        "versions": installed_versions(),
    }
