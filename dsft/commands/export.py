"""``dsft export``: a model as a file that runs without dsft, kept only when it answers as the model does."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.artifact.manifest import installed_versions
from dsft.assembly import Network, Source, find_model_folder, load_folder, load_split, outline_source
from dsft.assembly.named_data import NamedData
from dsft.assembly.scoring import ScoringData, open_scoring_data, under_class_table
from dsft.choices import ExportFormat, SplitName
from dsft.data import Split
from dsft.data.preprocessing_steps import describe_steps
from dsft.devices import Compute
from dsft.errors import DataError, ExportError
from dsft.models import load_weights
from dsft.progress import Note, Report, Warn, ignore
from dsft.runtimes import (
    TOLERANCE,
    Int8,
    OnnxSession,
    Parity,
    compare_logits,
    quantize_onnx,
    require_onnx,
    trace_folded,
    write_onnx,
)
from dsft.runtimes.onnx_export import INPUT, OUTPUT
from dsft.storage import require_free_file, sha256_of, staged_file, write_json
from dsft.tasks import Layout, Task, split_outputs

NOISE_IMAGES = 8
"""Images of noise that stand in where the model names no data."""

Runner = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ExportResult:
    """An exported file.

    Attributes:
        path: The file.
        description: The JSON file beside it.
        form: What it is.
        bytes: Its size.
        norms_folded: Batch normalisations that are folded into convolutions.
        parity: The float32 file beside the model.
        int8: What quantisation cost, or None.
        layout: What its answers and their score are called.
    """

    path: Path
    description: Path
    form: ExportFormat
    bytes: int
    norms_folded: int
    parity: Parity
    int8: Int8 | None
    layout: Layout

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
    model: Path,
    out: Path,
    form: ExportFormat,
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    split: SplitName = SplitName.TEST,
    images: int = 256,
    int8: bool = False,
    calibration: int = 256,
    overwrite: bool = False,
    report: Report = ignore,
) -> ExportResult:
    """Export a model, check the file against the model, and describe it in a JSON file beside it.

    Args:
        model: A model folder, or the folder of a run.
        out: The file.
        form: What it becomes.
        data: A recipe or a folder of images to check with; None for the data that the model names.
        overrides: Changes to the recipe.
        split: The split to check with.
        images: How many of its images.
        int8: Quantise the ONNX file to 8 bits.
        calibration: How many images of the train split find the ranges of the activations.
        overwrite: Replace ``out``.
        report: Receives the progress.

    Raises:
        ExportError: The model cannot be exported, or the file answers otherwise; it is not kept then.
        InputError: The folder, the data or ``out`` is at fault.
    """
    description = out.with_name(f"{out.name}.json")
    for file in (out, description):
        require_free_file(file, overwrite=overwrite)
    if form is ExportFormat.ONNX:
        require_onnx()
    if int8 and form is not ExportFormat.ONNX:
        raise ExportError(f"int8: quantises an ONNX file, found --to {form}. Leave --int8 out, or export --to onnx.")
    network = load_folder(model)
    classifier = _Classifier(network.module.float()).eval()
    sample = _sample(model, network, data, overrides, split, images, calibration if int8 else 0, report)
    expected = _run(classifier, sample.batches)
    report(Note(f"writing {out}"))
    with staged_file(out) as staged:
        folded, runner = _write(model, network, classifier, form, staged, sample.batches[0])
        parity = _compare(network.task, expected, _run(runner, sample.batches))
        _require_parity(parity, out)
        quantized = _quantize(staged, network.task, expected, sample) if int8 else None
        result = ExportResult(
            out, description, form, staged.stat().st_size, folded, parity, quantized, network.task.layout
        )
        document = {**_describe(network, result), "sha256": sha256_of(staged)}
    write_json(description, document)
    return result


class _Classifier(nn.Module):
    """The network with its main logits as its only output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return split_outputs(self.network(images))[0]


@dataclass(frozen=True)
class _Sample:
    """Preprocessed images to check with, their classes where they are known, and images to calibrate with."""

    batches: list[Tensor]
    targets: Tensor | None
    calibration: list[Tensor]


def _sample(
    model: Path,
    network: Network,
    data: str | None,
    overrides: Sequence[str],
    split: SplitName,
    images: int,
    calibration: int,
    report: Report,
) -> _Sample:
    if data is None and not network.trainings:
        if calibration:
            raise DataError(
                f"model {str(model)!r}: its folder names no data, and 8 bits need real images to find their ranges. "
                "Say which with --data RECIPE or FOLDER."
            )
        report(
            Warn(
                f"model {str(model)!r}: its folder names no data, so the file is checked on {NOISE_IMAGES} images of "
                "noise. Say which images to use with --data RECIPE or FOLDER."
            )
        )
        size = (NOISE_IMAGES, network.preprocessing.channels, *network.preprocessing.image_size)
        return _Sample([torch.randn(size, generator=torch.Generator().manual_seed(0))], None, [])
    opened = open_scoring_data(NamedData(data, tuple(overrides)), network, str(model), report)
    chosen = opened.split(split, network, report)
    if network.classes is not None:
        chosen = under_class_table(chosen, str(model), network)
    chosen = _spaced(chosen, images)
    batches, targets = _load(chosen, opened, network)
    return _Sample(
        batches,
        targets if network.classes is not None else None,
        _calibration(opened, chosen, network, calibration, report) if calibration else [],
    )


def _calibration(opened: ScoringData, scored: Split, network: Network, count: int, report: Report) -> list[Tensor]:
    """Read images of the train split; of a plain folder, those that are not scored."""
    pool = opened.split(SplitName.TRAIN, network, report)
    if pool.source is scored.source:
        taken = set(scored.indices)
        pool = dataclasses.replace(pool, indices=tuple(index for index in pool.indices if index not in taken))
    if not len(pool):
        raise DataError(
            "data: 8 bits need images to find their ranges that are not scored as well, and none is left. Check with "
            "fewer --images, or give more."
        )
    return _load(_spaced(pool, count), opened, network)[0]


def _spaced(split: Split, count: int) -> Split:
    """Return a split of at most so many images, spread evenly over the split, and so over its classes."""
    step = max(len(split) / count, 1.0)
    chosen = [split.indices[int(place * step)] for place in range(min(count, len(split)))]
    return dataclasses.replace(split, indices=tuple(chosen))


def _load(split: Split, opened: ScoringData, network: Network) -> tuple[list[Tensor], Tensor]:
    loader = load_split(split, opened.section, network.preprocessing, Compute(torch.device("cpu")))
    batches = [(batch.images, batch.targets) for batch in loader.epoch(0)]
    return [images for images, _ in batches], torch.cat([targets for _, targets in batches])


def _run(runner: Runner, batches: Sequence[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([runner(images) for images in batches])


def _write(
    model: Path, network: Network, classifier: nn.Module, form: ExportFormat, path: Path, images: Tensor
) -> tuple[int, Runner]:
    """Write the file; return how many norms were folded, and what runs it."""
    if form is ExportFormat.SAFETENSORS:
        state = {key: value.contiguous().clone() for key, value in network.module.state_dict().items()}
        path.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        return 0, _weights_runner(model, path)
    program, folded = trace_folded(classifier, images)
    if form is ExportFormat.ONNX:
        write_onnx(program, path)
        return folded, OnnxSession(path)
    torch.export.save(program, path)
    return folded, _program_runner(torch.export.load(path))


def _weights_runner(model: Path, path: Path) -> Runner:
    outline = outline_source(Source(str(find_model_folder(model))), meta=False, report=ignore).module
    load_weights(outline, safetensors.torch.load_file(path), f"file {str(path)!r}")
    return _Classifier(outline).eval()


def _program_runner(program: ExportedProgram) -> Runner:
    return program.module()


def _compare(task: Task, expected: Tensor, found: Tensor) -> Parity:
    agrees = task.right(found, task.decide(expected))
    return compare_logits(expected, found, agrees=agrees, margins=task.margin(expected.double()))


def _require_parity(parity: Parity, out: Path) -> None:
    if not parity.holds:
        raise ExportError(
            f"{str(out)!r} is not kept: on {parity.images} images its logits differ from the model's by up to "
            f"{parity.largest_difference:.3g}, {parity.relative_difference:.2g} of the largest logit (at most "
            f"{TOLERANCE:g} is allowed), and {parity.clear_disagreements} have clearly another answer. Please report "
            "it, with the model's folder."
        )


def _quantize(staged: Path, task: Task, expected: Tensor, sample: _Sample) -> Int8:
    """Put the 8-bit file in the place of the float32 one, and score it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / staged.name
        quantize_onnx(staged, target, sample.calibration)
        staged.write_bytes(target.read_bytes())
    found = _run(OnnxSession(staged), sample.batches)
    parity, score = _compare(task, expected, found), task.layout.main.name
    before, after = (
        task.watch(logits, sample.targets)[score] if sample.targets is not None else None
        for logits in (expected, found)
    )
    count = sum(map(len, sample.calibration))
    return Int8(count, score, before, after, parity.agreement, parity.largest_difference)


def _describe(network: Network, result: ExportResult) -> dict[str, Any]:
    """Return what whoever runs the file must know."""
    preprocessing = network.preprocessing
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
        "output": {"name": OUTPUT, "shape": ["batch", network.spec.num_classes], "dtype": "float32"},
        "preprocessing": {**preprocessing.to_dict(), "steps": describe_steps(preprocessing)},
        "classes": list(network.classes) if network.classes is not None else None,
        "task": network.task.name.value,
        "probabilities": network.task.activation,
        "norms_folded": result.norms_folded,
        "parity": result.parity.to_dict(),
        "int8": result.int8.to_dict() if result.int8 is not None else None,
        "versions": installed_versions(),
    }
