"""``dsft benchmark``: interleaved timing of networks by runtime, number format and batch size."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dsft.assembly import Network, Source, load_source, outline_source
from dsft.assembly.conversion import require_fitting_input
from dsft.assembly.source import share_builder
from dsft.choices import Amp, Dtype, InputKind, Runtime
from dsft.compat.torch_convolution import Convolution
from dsft.conversion import inspect_layers
from dsft.data.inputs import INPUTS
from dsft.devices import Compute, resolve_compute
from dsft.errors import ModelError, RecipeError
from dsft.progress import Report, Warn, ignore, report_task
from dsft.runtimes import RUNTIMES, measured_on, open_exported, open_runs
from dsft.runtimes.interleaved_timing import Run, Timing, fixed_threads, time_interleaved
from dsft.separable import FactoredConv

_DTYPES = {
    Dtype.FLOAT32: torch.float32,
    Dtype.BFLOAT16: torch.bfloat16,
    Dtype.FLOAT16: torch.float16,
}
_TIMED_LAYERS = (Convolution, FactoredConv, nn.Linear)


@dataclass(frozen=True)
class BenchmarkRow:
    """One network in one setting; ``timing.ratio`` is relative to the reference network."""

    model: str
    runtime: Runtime
    dtype: Dtype
    batch: int
    timing: Timing

    @property
    def images_per_second(self) -> float:
        """Throughput at the median latency."""
        return 1000 * self.batch / self.timing.milliseconds.median


@dataclass(frozen=True)
class LayerRow:
    """One layer, timed alone in eager mode in the first setting; None for a network without a layer of this name."""

    name: str
    against: Timing | None
    model: Timing | None


@dataclass(frozen=True)
class BenchmarkResult:
    """All networks in all settings.

    Attributes:
        device: Marketing name of the device.
        threads: Number of threads of each runtime.
        layout: Memory layout of the kernels in torch.
        image_size: The sizes of an input along the axes after the channels; of an image height and width in pixels.
        rows: For each setting the reference network, if there is one, and the network.
        layers: The times of single layers; empty unless requested.
        kind: What the networks take.
    """

    device: str
    threads: int
    layout: str
    image_size: tuple[int, ...]
    rows: tuple[BenchmarkRow, ...]
    layers: tuple[LayerRow, ...]
    kind: InputKind = InputKind.IMAGE

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        rows = [{**asdict(row), "images_per_second": row.images_per_second} for row in self.rows]
        return {**asdict(self), "rows": rows}


@dataclass(frozen=True)
class Settings:
    """The settings of a benchmark: every combination of the first three is timed.

    Attributes:
        runtimes: What runs the networks.
        dtypes: Number formats of weights and images.
        batches: Numbers of images in a batch.
        threads: Number of threads per operator.
        seconds: Approximate length of the measurement of one combination.
    """

    runtimes: tuple[Runtime, ...]
    dtypes: tuple[Dtype, ...]
    batches: tuple[int, ...]
    threads: int
    seconds: float


def run(
    model: Source,
    settings: Settings,
    *,
    against: Source | None = None,
    layers: bool = False,
    device: str = "auto",
    report: Report = ignore,
) -> BenchmarkResult:
    """Time one network, or two interleaved.

    Args:
        model: The network; one of a library has random weights.
        settings: Runtimes, number formats, batch sizes, threads and seconds.
        against: The reference network of the ratios; None for no comparison.
        layers: Time every convolution and linear layer alone as well.
        device: Where torch runs; the other runtimes run on the CPU.
        report: Receives the progress over the settings.

    Raises:
        InputError: A network cannot be loaded, does not accept the images, or cannot run in a setting.
    """
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    for runtime in settings.runtimes:
        RUNTIMES[runtime].require_usable()
    sources = [share_builder(source) for source in (against, model) if source is not None]
    names = [source.label for source in sources]
    networks = [_load(source, report) for source in sources]
    _require_same_images(names, networks)
    for network in networks:
        require_fitting_input(network, Compute(torch.device("cpu")))
    with fixed_threads(settings.threads):
        rows = _time_networks(names, networks, settings, compute, report)
        timed = _time_layers(networks, settings, compute, report) if layers else ()
    example = _images(networks[0], 1, torch.float32, compute)
    where = measured_on(compute.place_module(networks[0].module), example, compute)
    inputs = networks[0].preprocessing
    return BenchmarkResult(where.device, settings.threads, where.layout, inputs.size, rows, timed, inputs.kind)


def _load(source: Source, report: Report) -> Network:
    is_folder = source.folder is not None
    return load_source(source, report) if is_folder else outline_source(source, meta=False, report=report)


def _require_same_images(names: Sequence[str], networks: Sequence[Network]) -> None:
    shapes = [network.preprocessing.shape for network in networks]
    if len(set(shapes)) > 1:
        raise RecipeError(
            f"--against: both networks must take the same inputs, found {shapes[0]} for {names[0]!r} and {shapes[1]} "
            f"for {names[1]!r} (channels and sizes). Set the size of images with --image-size."
        )


def _images(network: Network, batch: int, dtype: torch.dtype, compute: Compute) -> Tensor:
    images = compute.place(INPUTS[network.preprocessing.kind].noise(network.preprocessing, batch))
    # Numbers of tokens have no other format.
    return images.to(dtype) if images.is_floating_point() else images


@dataclass(frozen=True)
class _Case:
    """One combination of the settings."""

    runtime: Runtime
    dtype: Dtype
    batch: int
    threads: int

    @property
    def torch_dtype(self) -> torch.dtype:
        return _DTYPES[self.dtype]

    @property
    def is_supported(self) -> bool:
        return RUNTIMES[self.runtime].supports_dtype(self.torch_dtype)

    def device(self, compute: Compute) -> torch.device:
        """Return where the networks run: a runtime that does not support the device runs on the CPU."""
        return compute.device if RUNTIMES[self.runtime].supports_device(compute.device) else torch.device("cpu")


def _time_networks(
    names: Sequence[str], networks: Sequence[Network], settings: Settings, compute: Compute, report: Report
) -> tuple[BenchmarkRow, ...]:
    """Time the networks, interleaved, in each supported case."""
    rows = list[BenchmarkRow]()
    grid = itertools.product(settings.runtimes, settings.dtypes, settings.batches)
    cases = [_Case(*values, settings.threads) for values in grid]
    supported = [case for case in cases if case.is_supported]
    skipped = dict.fromkeys((case.runtime, case.dtype) for case in cases if not case.is_supported)
    if not supported:
        runtime = settings.runtimes[0]
        known = ", ".join(RUNTIMES[runtime].dtypes or ())
        raise RecipeError(f"--runtime {runtime}: supports only {known}. Add it to --dtype.")
    for runtime, dtype in skipped:
        report(Warn(f"runtime {runtime}: does not support {dtype}; skipped."))
    with report_task(report, "timing networks", len(supported), "settings") as advance:
        for done, case in enumerate(supported, start=1):
            with _open(networks, case, compute) as runs:
                timings = time_interleaved(runs, case.device(compute), threads=case.threads, seconds=settings.seconds)
            rows += [
                BenchmarkRow(name, case.runtime, case.dtype, case.batch, timing)
                for name, timing in zip(names, timings, strict=True)
            ]
            advance(done)
    return tuple(rows)


@contextmanager
def _open(networks: Sequence[Network], case: _Case, compute: Compute) -> Iterator[list[Run]]:
    """Yield the forward pass of each network in one case."""
    if not RUNTIMES[case.runtime].uses_compute:
        cpu = Compute(torch.device("cpu"))
        modules = [_on_cpu(network) for network in networks]
        images = [_images(each, case.batch, torch.float32, cpu) for each in networks]
        with open_exported(modules, images, case.runtime, threads=case.threads) as runs:
            yield runs
        return
    modules = [compute.place_module(copy.deepcopy(network.module)).to(case.torch_dtype) for network in networks]
    images = [_images(network, case.batch, case.torch_dtype, compute) for network in networks]
    with open_runs(modules, images, compute, case.runtime, threads=case.threads) as runs:
        _try(runs, networks, case)
        yield runs


def _on_cpu(network: Network) -> nn.Module:
    # torch's stubs know only the overload without memory_format.
    module: nn.Module = copy.deepcopy(network.module).to(  # type: ignore[call-overload]
        "cpu", torch.float32, memory_format=torch.contiguous_format
    )
    return module.eval()


def _try(runs: Sequence[Run], networks: Sequence[Network], case: _Case) -> None:
    """Run each network once, so that the message names the network that cannot run."""
    for network, run_once in zip(networks, runs, strict=True):
        try:
            run_once()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers and kernels raise errors of every kind
            reason = next(iter(str(error).splitlines()), "")
            raise ModelError(
                f"model {network.spec}: runtime {case.runtime} cannot run it in {case.dtype} on this machine "
                f"({type(error).__name__}: {reason}). Leave the runtime out of --runtime, or the number format out of "
                "--dtype."
            ) from error


def _time_layers(
    networks: Sequence[Network], settings: Settings, compute: Compute, report: Report
) -> tuple[LayerRow, ...]:
    """Time the convolutions and linear layers of each network one by one; layers of the same name form a pair."""
    layers = [_layer_runs(network, settings, compute) for network in networks]
    names = list(dict.fromkeys(name for runs in reversed(layers) for name in runs))
    rows = []
    with report_task(report, "timing layers", len(names), "layers") as advance, torch.no_grad():
        for done, name in enumerate(names, start=1):
            found = [runs[name] for runs in layers if name in runs]
            seconds = settings.seconds / 10
            timings = iter(time_interleaved(found, compute.device, threads=settings.threads, seconds=seconds))
            times = [next(timings) if name in runs else None for runs in layers]
            rows.append(LayerRow(name, times[0] if len(times) > 1 else None, times[-1]))
            advance(done)
    return tuple(rows)


def _layer_runs(network: Network, settings: Settings, compute: Compute) -> dict[str, Run]:
    """Return the forward pass of each timed layer by its name, in the first number format and batch size."""
    dtype, batch = _DTYPES[settings.dtypes[0]], settings.batches[0]
    module = compute.place_module(copy.deepcopy(network.module)).to(dtype).eval()
    inspection = inspect_layers(module, _images(network, 1, dtype, compute))
    runs: dict[str, Run] = {}
    for found in inspection.layers:
        layer = module.get_submodule(found.name)
        if found.input_shape and isinstance(layer, _TIMED_LAYERS):
            images = torch.randn((batch, *found.input_shape), generator=torch.Generator().manual_seed(0))
            runs[found.name] = partial(layer, compute.place(images).to(dtype))
    return runs
