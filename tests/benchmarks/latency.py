"""Whether a budget of time is met by the clock: whole networks at a share f of their time, and only faster layers.

Random weights, 224 x 224, one image, float32, one thread, in every runtime that is installed and can have a budget of
time. Each converted network is measured anew beside its dense self, three times, each in a process of its own; the time
that the first budget took, the table of layer times included, is printed beside it.

    python tests/benchmarks/latency.py [--models resnet18 resnet50] [--shares 0.5 0.7] [--runtimes eager onnxruntime]
                                       [--times 3]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torchvision
from torch import Tensor, nn

import dsft
from dsft.choices import Runtime
from dsft.conversion.report import LayerReport
from dsft.devices import Compute
from dsft.errors import BudgetError
from dsft.runtimes import RUNTIMES, compare_latency, why_unusable

COMPUTE = Compute(torch.device("cpu"), channels_last=True)
ALLOWED = 1.05
"""The most that the measured share may be of the one asked for."""


def main() -> None:
    """Print a line for each budget, and one for ``only_faster``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.5, 0.7])
    usable = [runtime for runtime, found in RUNTIMES.items() if found.times_layers and why_unusable(runtime) is None]
    parser.add_argument("--runtimes", nargs="+", type=Runtime, default=usable)
    parser.add_argument("--times", type=int, default=3, help="how often each network is measured anew")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long a network is timed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    # A table of its own, so that the time to measure it counts.
    os.environ["DSFT_CACHE"] = tempfile.mkdtemp()
    torch.set_num_threads(1)
    images = example()
    for name in arguments.models:
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None).eval().to(memory_format=torch.channels_last)
        for runtime in arguments.runtimes:
            for share in arguments.shares:
                started = time.monotonic()
                budget = {"latency": share, "runtime": str(runtime)}
                try:
                    converted = dsft.convert(model, images, budget=budget, method="svd").model
                except BudgetError as error:
                    say(f"{name} {runtime}: {error} Found in {time.monotonic() - started:.0f} s")
                    continue
                seconds = time.monotonic() - started
                found = [ratio_anew(model, converted, arguments.seconds, runtime) for _ in range(arguments.times)]
                verdict = "met" if max(found) <= ALLOWED * share else "MISSED"
                ratios = " ".join(f"{each:.3f}" for each in found)
                say(f"{name} {runtime}: latency={share:g} became {ratios} ({verdict}) in {seconds:.0f} s")
        conversion = dsft.convert(model, images, rank=1, method="svd", only_faster=True)
        layers = [layer for layer in conversion.report.layers if layer.latency_ms_after is not None]
        worst = max(layers, key=share_of)
        say(f"{name} eager, only_faster at rank 1: the slowest of {len(layers)} layers takes {share_of(worst):.3f} of")
        say(f"    what it replaced ({worst.name})")


def ratio_anew(model: nn.Module, converted: nn.Module, seconds: float, runtime: Runtime) -> float:
    """Return the converted network's time relative to the dense one's, measured in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(ratio, model, converted, seconds, runtime).result()


def ratio(model: nn.Module, converted: nn.Module, seconds: float, runtime: Runtime) -> float:
    """Return the converted network's time relative to the dense one's."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    before, after = compare_latency([model, converted], [example()] * 2, COMPUTE, seconds, runtime)
    return after / before


def example() -> Tensor:
    """Return one image."""
    return torch.randn(1, 3, 224, 224).contiguous(memory_format=torch.channels_last)


def share_of(layer: LayerReport) -> float:
    """Return a layer's time as a share of that of the one which it replaced."""
    return (layer.latency_ms_after or 0.0) / (layer.latency_ms_before or 1.0)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
