"""``dsft deploy``: what a model scores, takes and weighs in each runtime and number format."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dsft.artifact.locate import find_model_folder
from dsft.artifact.manifest import WEIGHTS_FILE, installed_versions
from dsft.assembly import Network, Source, load_folder
from dsft.assembly.model_folder import outline_folder
from dsft.choices import Runtime
from dsft.commands.check_inputs import CheckInputs, CheckSettings, load_check_inputs
from dsft.commands.export_file import MainOutput, quantize_within, run_batches
from dsft.commands.export_file import compare as compare_files
from dsft.data.inputs import INPUTS
from dsft.devices import Compute
from dsft.errors import DataError, ExportError, ModelError
from dsft.evaluation import Evaluation, compare
from dsft.evaluation.deployment import DeployResult, DeployRow
from dsft.progress import Report, Warn, ignore, report_task
from dsft.report import DEPLOYMENT_FILE, write_report
from dsft.run_files import is_run_folder
from dsft.runtimes import (
    QUANTIZED_FORMATS,
    RUNTIMES,
    FileFormat,
    Session,
    measured_on,
    open_exported,
    open_runs,
    quantize_file,
    require_int8,
    trace_folded,
    why_unusable,
)
from dsft.runtimes.interleaved_timing import Run, Timing, time_interleaved
from dsft.storage import write_json

BATCHES = (1, 8)
"""Numbers of images of the timed passes."""

_DENSE_CALIBRATION = 8
"""Number of calibration images of the unconverted network in int8, of which only the time counts."""

_CPU = Compute(torch.device("cpu"))


@dataclass(frozen=True)
class DeploySettings:
    """How a model is scored and timed.

    Attributes:
        runtimes: The runtimes; those that cannot be used are skipped, with the reason in the result.
        check: The images; all of the test split by default.
        threads: Number of threads of the timed passes.
        seconds: Approximate length of each comparison of times.
        max_drop: Largest loss of the main score by int8 on the calibration images, in points or dB; layers are kept in
            float32 until it is met. None for any.
    """

    runtimes: tuple[Runtime, ...] = tuple(RUNTIMES)
    check: CheckSettings = dataclasses.field(default_factory=lambda: CheckSettings(images=None))
    threads: int = 1
    seconds: float = 2.0
    max_drop: float | None = None


@dataclass(frozen=True)
class _Variant:
    """The model in one number format.

    Attributes:
        dtype: ``float32`` or ``int8``.
        file_bytes: Size of its file.
        session: Runs it.
        reference: Runs the unconverted network in the same format; None if that is opened for each batch size.
        float_layers: Of int8: names of the layers with weights that remain in float32.
    """

    dtype: str
    file_bytes: int
    session: Session
    reference: Session | None = None
    float_layers: tuple[str, ...] = ()


def run(model: Source, settings: DeploySettings | None = None, *, report: Report = ignore) -> DeployResult:
    """Score and time a model in each usable runtime and number format; a run's page shows the result from then on.

    Args:
        model: A run folder or a model folder.
        settings: How; None for the defaults.
        report: Receives the progress, and a warning for each runtime that cannot run the model.

    Raises:
        InputError: The folder or the data is invalid, or the model has no class table.
    """
    settings = settings or DeploySettings()
    network = load_folder(Path(model.label), model.read_builder())
    unusable = {str(each): reason for each in settings.runtimes if (reason := why_unusable(each)) is not None}
    usable = [each for each in settings.runtimes if str(each) not in unusable]
    formats = (RUNTIMES[each].file_format for each in usable)
    with_int8 = any(each is not None and each.form in QUANTIZED_FORMATS for each in formats)
    images = load_check_inputs(network, model.label, settings.check, report, with_calibration=with_int8, is_scored=True)
    if images.targets is None:
        raise DataError(
            f"model {model.label!r}: has no class table, so it cannot be scored. Convert it with --classes."
        )
    module = MainOutput(network.module, network.task).eval()
    job = _Job(network, module, _dense(model, network), images, settings, unusable)
    rows = list[DeployRow]()
    with report_task(report, "measuring runtimes", len(usable), "runtimes") as advance:
        for done, runtime in enumerate(usable, start=1):
            measured = list[DeployRow]()
            try:
                measured.extend(job.measure(runtime, find_model_folder(Path(model.label))))
            except (ExportError, ModelError) as error:
                # The rows before the error are kept.
                unusable[f"{runtime} int8" if measured else str(runtime)] = str(error)
                report(Warn(str(error)))
            rows += measured
            advance(done)
    where = measured_on(network.module, images.batches[0][:1], _CPU)
    metric, count = network.task.scorer.layout.main, len(images.targets)
    found = (model.label, metric, count, where.device, settings.threads, tuple(rows), unusable)
    result = DeployResult(*found, network.preprocessing.kind)
    if is_run_folder(Path(model.label)):
        write_json(Path(model.label) / DEPLOYMENT_FILE, {**result.to_dict(), "versions": installed_versions()})
        write_report(Path(model.label))
    return result


def _dense(model: Source, network: Network) -> nn.Module:
    """Return the unconverted network with one output; its random weights do not matter for times."""
    if network.plan is not None:
        network = outline_folder(Path(model.label), model.read_builder(), converted=False)
    return MainOutput(network.module, network.task).eval()


@dataclass(frozen=True)
class _Job:
    """What is measured in every runtime."""

    network: Network
    module: nn.Module
    dense: nn.Module
    images: CheckInputs
    settings: DeploySettings
    unusable: dict[str, str]

    def measure(self, runtime: Runtime, folder: Path) -> Iterator[DeployRow]:
        """Yield a row for each number format.

        Raises:
            ExportError: The network cannot be exported to the runtime.
            ModelError: The runtime cannot run it.
        """
        with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as temporary:
            for variant in self._variants(runtime, folder, Path(temporary)):
                is_torch = runtime is Runtime.EAGER
                evaluation = self._in_torch if is_torch else self._evaluate(variant.session)
                yield DeployRow(
                    runtime,
                    variant.dtype,
                    variant.file_bytes,
                    evaluation.main_score,
                    None if is_torch else compare(self._in_torch, evaluation),
                    None if is_torch else self._output_difference(variant.session),
                    {size: self._time(runtime, variant, size) for size in BATCHES},
                    variant.float_layers,
                )

    def _variants(self, runtime: Runtime, folder: Path, temporary: Path) -> Iterator[_Variant]:
        if RUNTIMES[runtime].uses_compute:
            session: Any = torch.compile(self.module) if runtime is Runtime.COMPILED else self.module
            yield _Variant("float32", (folder / WEIGHTS_FILE).stat().st_size, session)
            return
        file_format = RUNTIMES[runtime].required_file_format
        files = _Files(file_format, temporary, self.settings.threads)
        program, dense = (
            self._write(module, files, name) for module, name in ((self.module, "model"), (self.dense, "dense"))
        )
        yield files.variant("float32", "model", "dense" if file_format.has_dynamic_batch else None)
        if file_format.form not in QUANTIZED_FORMATS:
            return
        try:
            yield self._quantized(files, program, dense)
        except (ExportError, ModelError) as error:
            self.unusable[f"{runtime} int8"] = str(error)

    def _write(self, module: nn.Module, files: _Files, name: str) -> ExportedProgram:
        is_dynamic = files.format.has_dynamic_batch
        example = self.images.batches[0] if is_dynamic else self.images.batches[0][:1]
        program, _ = trace_folded(module, example, dynamic_batch=is_dynamic)
        files.format.write(program, files.path(name), self.network.task.codec.output_name)
        return program

    def _quantized(self, files: _Files, program: ExportedProgram, dense: ExportedProgram) -> _Variant:
        form, task, max_drop = files.format.form, self.network.task, self.settings.max_drop
        require_int8(form)
        kept = quantize_within(form, program, files.path("model_int8"), task, self.images, max_drop)
        few = [self.images.calibration[0][:_DENSE_CALIBRATION]]
        quantize_file(form, dense, task.codec.output_name, files.path("dense_int8"), few)
        return files.variant("int8", "model_int8", "dense_int8", kept)

    @cached_property
    def _in_torch(self) -> Evaluation:
        return self._evaluate(self.module)

    def _output_difference(self, session: Session) -> float:
        """Return the largest difference to torch's outputs for the first batch, relative to the largest output."""
        images, task = self.images.batches[:1], self.network.task
        return compare_files(task, run_batches(self.module, images), run_batches(session, images)).relative_difference

    def _evaluate(self, session: Session) -> Evaluation:
        targets, classes = self.images.targets, self.network.classes
        if targets is None or classes is None:
            raise DataError(f"model {self.network.spec}: has no class table, so it cannot be scored.")
        task, split = self.network.task, self.settings.check.split.value
        parts = torch.split(targets, [len(batch) for batch in self.images.batches])
        with torch.inference_mode():
            rows = [
                task.scorer.reduce(session(batch).float(), part)
                for batch, part in zip(self.images.batches, parts, strict=True)
            ]
        outputs, kept = (torch.cat(column) for column in zip(*rows, strict=True))
        return Evaluation(outputs, kept, torch.arange(len(outputs)), classes, split, 0, task)

    def _time(self, runtime: Runtime, variant: _Variant, size: int) -> Timing:
        """Time a variant interleaved with the unconverted network."""
        threads, seconds = self.settings.threads, self.settings.seconds
        example = _CPU.place(INPUTS[self.network.preprocessing.kind].blank(self.network.preprocessing, size))
        with self._open(runtime, variant, example) as runs:
            return time_interleaved(runs, _CPU.device, threads=threads, seconds=seconds)[1]

    @contextmanager
    def _open(self, runtime: Runtime, variant: _Variant, example: Tensor) -> Iterator[list[Run]]:
        """Yield passes of the unconverted network and of the model; files of a fixed size are written for the batch."""
        if variant.reference is not None:
            yield [partial(variant.reference, example), partial(variant.session, example)]
            return
        modules, threads = [self.dense, self.module], self.settings.threads
        if RUNTIMES[runtime].uses_compute:
            opened = open_runs(modules, [example] * 2, _CPU, runtime, threads=threads)
        else:
            opened = open_exported(modules, [example] * 2, runtime, threads=threads)
        with opened as runs:
            yield list(runs)


@dataclass(frozen=True)
class _Files:
    """The files of one format in a folder."""

    format: FileFormat
    folder: Path
    threads: int

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / f"{name}{self.format.suffix}"

    def variant(self, dtype: str, model: str, dense: str | None, float_layers: tuple[str, ...] = ()) -> _Variant:
        """Load the file of a model, and that of the unconverted network if there is one."""
        size = sum(file.stat().st_size for file in self.format.files(self.path(model)))
        reference = self._load(dense) if dense is not None else None
        return _Variant(dtype, size, self._load(model), reference, float_layers)

    def _load(self, name: str) -> Session:
        return self.format.load(self.path(name), self.threads)
