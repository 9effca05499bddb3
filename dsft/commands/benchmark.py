"""``dsft benchmark``: how long networks take, in turn, by runtime, number format and batch."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsft.assembly import Network, Source, load_source, outline_source
from dsft.assembly.conversion import require_fitting_images
from dsft.choices import Amp, BenchmarkDtype, BenchmarkRuntime
from dsft.compat.torch_convolution import Convolution
from dsft.conversion import inspect_layers
from dsft.devices import Compute, resolve_compute
from dsft.errors import ModelError, RecipeError
from dsft.measure.example import evaluation_mode
from dsft.progress import Report, Warn, ignore, report_task
from dsft.runtimes import OnnxSession, fold_norms, graph_of, measured_on, require_onnx, trace, write_onnx
from dsft.runtimes.interleaved_timing import Run, Timing, fixed_threads, time_in_turn
from dsft.separable import FactoredConv

_DTYPES = {
    BenchmarkDtype.FLOAT32: torch.float32,
    BenchmarkDtype.BFLOAT16: torch.bfloat16,
    BenchmarkDtype.FLOAT16: torch.float16,
}
_TIMED_LAYERS = (Convolution, FactoredConv, nn.Linear)


@dataclass(frozen=True)
class BenchmarkRow:
    """One network in one setting; ``timing.ratio`` is to the network that it is compared with."""

    model: str
    runtime: BenchmarkRuntime
    dtype: BenchmarkDtype
    batch: int
    timing: Timing

    @property
    def images_per_second(self) -> float:
        """Throughput at the median time."""
        return 1000 * self.batch / self.timing.milliseconds.median


@dataclass(frozen=True)
class LayerRow:
    """One layer by itself, eager, in the first setting; None for a network that has no such layer."""

    name: str
    against: Timing | None
    model: Timing | None


@dataclass(frozen=True)
class BenchmarkResult:
    """All networks in all settings.

    Attributes:
        device: Its marketing name.
        threads: Of torch, and of ONNX Runtime.
        layout: Of the kernels that torch runs.
        image_size: Height and width in pixels.
        rows: The network that is compared with first, setting by setting.
        layers: Layer by layer; empty where that was not asked for.
    """

    device: str
    threads: int
    layout: str
    image_size: tuple[int, int]
    rows: tuple[BenchmarkRow, ...]
    layers: tuple[LayerRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        rows = [{**asdict(row), "images_per_second": row.images_per_second} for row in self.rows]
        return {**asdict(self), "rows": rows}


@dataclass(frozen=True)
class Settings:
    """What is varied, and what is held."""

    runtimes: tuple[BenchmarkRuntime, ...]
    dtypes: tuple[BenchmarkDtype, ...]
    batches: tuple[int, ...]
    threads: int
    seconds: float


def run(
    model: str,
    settings: Settings,
    *,
    against: str | None = None,
    image_size: int | None = None,
    layers: bool = False,
    device: str = "auto",
    report: Report = ignore,
) -> BenchmarkResult:
    """Time one network, or two in turn.

    Args:
        model: A model folder, or ``timm/NAME`` or ``torchvision/NAME`` with random weights.
        settings: Runtimes, number formats, batches, threads, seconds.
        against: The network to compare with; its time is the 1 of every ratio.
        image_size: Side of the images in pixels; None for what the first network takes.
        layers: Time every layer by itself as well.
        device: Where torch runs; ONNX Runtime runs on the CPU.
        report: Receives the progress over the settings.

    Raises:
        InputError: A network cannot be had, does not take the images, or cannot run in a setting.
    """
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    if BenchmarkRuntime.ONNXRUNTIME in settings.runtimes:
        require_onnx()
    names = [name for name in (against, model) if name is not None]
    networks = [_load(name, image_size, report) for name in names]
    _require_same_images(names, networks)
    for network in networks:
        require_fitting_images(network, Compute(torch.device("cpu")))
    with fixed_threads(settings.threads):
        rows = _time_networks(names, networks, settings, compute, report)
        timed = _time_layers(networks, settings, compute, report) if layers else ()
    example = _images(networks[0], 1, torch.float32, compute)
    where = measured_on(compute.place_module(networks[0].module), example, compute)
    size = networks[0].preprocessing.image_size
    return BenchmarkResult(where.device, settings.threads, where.layout, size, rows, timed)


def _load(name: str, image_size: int | None, report: Report) -> Network:
    source = Source(name, image_size=image_size)
    return load_source(source, report) if source.is_folder else outline_source(source, meta=False, report=report)


def _require_same_images(names: Sequence[str], networks: Sequence[Network]) -> None:
    shapes = [(network.preprocessing.channels, *network.preprocessing.image_size) for network in networks]
    if len(set(shapes)) > 1:
        raise RecipeError(
            f"--against: both networks must take the same images, found {shapes[0]} for {names[0]!r} and {shapes[1]} "
            f"for {names[1]!r} (channels, height, width). Say which with --image-size."
        )


def _images(network: Network, batch: int, dtype: torch.dtype, compute: Compute) -> Tensor:
    size = (batch, network.preprocessing.channels, *network.preprocessing.image_size)
    return compute.place(torch.randn(size, generator=torch.Generator().manual_seed(0))).to(dtype)


def _time_networks(
    names: Sequence[str], networks: Sequence[Network], settings: Settings, compute: Compute, report: Report
) -> tuple[BenchmarkRow, ...]:
    rows = list[BenchmarkRow]()
    grid = list(itertools.product(settings.runtimes, settings.dtypes, settings.batches))
    with report_task(report, "timing networks", len(grid), "settings") as advance:
        for done, (runtime, dtype, batch) in enumerate(grid, start=1):
            if runtime is BenchmarkRuntime.ONNXRUNTIME and dtype is not BenchmarkDtype.FLOAT32:
                report(Warn(f"runtime {runtime}: computes in float32 only, so {dtype} is left out."))
            else:
                with _opened(networks, runtime, _DTYPES[dtype], batch, settings.threads, compute) as runs:
                    where = torch.device("cpu") if runtime is BenchmarkRuntime.ONNXRUNTIME else compute.device
                    timings = time_in_turn(runs, where, threads=settings.threads, seconds=settings.seconds)
                rows += [BenchmarkRow(n, runtime, dtype, batch, t) for n, t in zip(names, timings, strict=True)]
            advance(done)
    if not rows:
        raise RecipeError("--runtime onnxruntime: computes in float32 only. Add float32 to --dtype.")
    return tuple(rows)


@contextmanager
def _opened(
    networks: Sequence[Network],
    runtime: BenchmarkRuntime,
    dtype: torch.dtype,
    batch: int,
    threads: int,
    compute: Compute,
) -> Iterator[list[Run]]:
    """Yield the pass of each network in one setting."""
    if runtime is BenchmarkRuntime.ONNXRUNTIME:
        with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
            yield [
                _session_run(network, Path(folder) / f"{place}.onnx", batch, threads)
                for place, network in enumerate(networks)
            ]
        return
    modules = [compute.place_module(copy.deepcopy(network.module)).to(dtype) for network in networks]
    if runtime is BenchmarkRuntime.COMPILED:
        torch.compiler.reset()
        runners: list[Any] = [torch.compile(module) for module in modules]
    else:
        runners = list(modules)
    images = [_images(network, batch, dtype, compute) for network in networks]
    with torch.no_grad(), evaluation_mode(nn.ModuleList(modules)):
        runs: list[Run] = [partial(runner, each) for runner, each in zip(runners, images, strict=True)]
        _try(runs, networks, runtime, dtype)
        yield runs


def _try(runs: Sequence[Run], networks: Sequence[Network], runtime: BenchmarkRuntime, dtype: torch.dtype) -> None:
    """Run each once, so that what cannot run says so in words."""
    for network, once in zip(networks, runs, strict=True):
        try:
            once()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers and kernels raise what they like
            reason = next(iter(str(error).splitlines()), "")
            raise ModelError(
                f"model {network.spec}: cannot run {runtime} in {str(dtype).removeprefix('torch.')} here "
                f"({type(error).__name__}: {reason}). Leave it out of --runtime or --dtype."
            ) from error


def _session_run(network: Network, path: Path, batch: int, threads: int) -> Run:
    """Export a network with its norms folded, as ``dsft export`` does, and return its pass in ONNX Runtime."""
    cpu = Compute(torch.device("cpu"))
    module = copy.deepcopy(network.module).to("cpu", torch.float32, memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    example = _images(network, 2, torch.float32, cpu)
    graph = graph_of(trace(module, example))
    fold_norms(graph)
    write_onnx(trace(graph, example), path)
    session, images = OnnxSession(path, threads), _images(network, batch, torch.float32, cpu)
    return partial(session, images)


def _time_layers(
    networks: Sequence[Network], settings: Settings, compute: Compute, report: Report
) -> tuple[LayerRow, ...]:
    """Time the convolutions and matrices of each network by themselves; layers of one name are a pair."""
    dtype, batch = _DTYPES[settings.dtypes[0]], settings.batches[0]
    found: list[dict[str, Run]] = []
    modules = [compute.place_module(copy.deepcopy(network.module)).to(dtype).eval() for network in networks]
    for network, module in zip(networks, modules, strict=True):
        inspection = inspect_layers(module, _images(network, 1, dtype, compute))
        found.append(
            {
                layer.name: _layer_run(module.get_submodule(layer.name), layer.input_shape, batch, dtype, compute)
                for layer in inspection.layers
                if layer.input_shape and isinstance(module.get_submodule(layer.name), _TIMED_LAYERS)
            }
        )
    names = list(dict.fromkeys(name for layers in reversed(found) for name in layers))
    rows = []
    with report_task(report, "timing layers", len(names), "layers") as advance, torch.no_grad():
        for done, name in enumerate(names, start=1):
            runs = [layers.get(name) for layers in found]
            timings = iter(
                time_in_turn(
                    [each for each in runs if each is not None],
                    compute.device,
                    threads=settings.threads,
                    seconds=settings.seconds / 10,
                )
            )
            ours = [next(timings) if each is not None else None for each in runs]
            rows.append(LayerRow(name, ours[0] if len(ours) > 1 else None, ours[-1]))
            advance(done)
    return tuple(rows)


def _layer_run(layer: nn.Module, shape: tuple[int, ...], batch: int, dtype: torch.dtype, compute: Compute) -> Run:
    images = compute.place(torch.randn((batch, *shape), generator=torch.Generator().manual_seed(0))).to(dtype)
    return partial(layer, images)
