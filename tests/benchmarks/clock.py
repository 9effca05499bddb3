"""How much of the saved multiply-accumulates becomes speed: whole networks before and after, one thread.

Each network is converted to `--rank 1`, or to `--budget` of its multiply-accumulates in the structures that dsft takes
by default. `vgg16.features` is what stands before the classifier.

Random weights, 224 x 224, channels_last or `--contiguous`, medians of passes that are timed in turn. A processor that
runs other things meanwhile changes little: what counts is the time that the one thread was given. `--losses` says
beside it where the time goes: each kind of layer, and the pages of memory that the system had to hand out.
`--huge-pages` lets torch ask for pages of 2 MiB (Linux) instead of 4 KiB: what page faults cost is the difference.

    python tests/benchmarks/clock.py [--models resnet18 vgg16] [--batches 1 8] [--dtypes float32 bfloat16]
                                     [--runtimes eager onnxruntime] [--rank 1 | --budget 0.35] [--contiguous]
                                     [--losses] [--huge-pages]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torchvision
from torch import Tensor, nn

from dsft.choices import Runtime
from dsft.conversion import ConversionPlan, Request, apply_plan, copy_network, plan_conversion
from dsft.devices import Compute
from dsft.runtimes import compare_latency, open_runs

TARGETS = {("vgg16", 1): 2.8, ("vgg16", 8): 2.8, ("resnet18", 1): 3.5, ("resnet18", 8): 2.6}
"""Least speed-up that is asked for, eager, float32 and rank 1, by network and batch."""

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Torch reads it when it first takes memory (``c10/core/impl/alloc_cpu.cpp``)."""

CPU = torch.device("cpu")
ROUNDS = 5


def main() -> None:
    """Print one line for each case as it is measured."""
    arguments = parse_arguments()
    os.environ[HUGE_PAGES] = str(int(arguments.huge_pages))
    warnings.simplefilter("ignore")
    print(  # noqa: T201
        "network   batch dtype    runtime        before ms   after ms   faster  fewer MACs  became speed  target"
    )
    is_budget = arguments.budget is not None
    request = Request(budget={"macs": arguments.budget}) if is_budget else Request(rank=arguments.rank)
    for name in arguments.models:
        torch.manual_seed(0)
        architecture, _, part = name.partition(".")
        model = getattr(torchvision.models, architecture)(weights=None).eval().get_submodule(part)
        plan = plan_conversion(model, torch.zeros(1, 3, 224, 224), request)
        cases = itertools.product(arguments.runtimes, arguments.batches, arguments.dtypes)
        for runtime, batch, dtype in cases:
            # ONNX Runtime has no bfloat16 convolution on the CPU.
            if runtime is Runtime.EAGER or dtype == "float32":
                run_case(name, model, plan, runtime, batch, dtype, arguments)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "vgg16", "resnet50"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--runtimes", nargs="+", type=Runtime, default=[Runtime.EAGER, Runtime.ONNXRUNTIME])
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--budget", type=float, help="share of the multiply-accumulates, in place of a rank")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long a case is timed")
    parser.add_argument("--contiguous", action="store_true", help="the memory layout in which torch builds networks")
    parser.add_argument("--losses", action="store_true", help="also say where the time goes (eager)")
    parser.add_argument("--huge-pages", action="store_true", help="pages of 2 MiB for large tensors (Linux)")
    return parser.parse_args()


def run_case(
    name: str,
    model: nn.Module,
    plan: ConversionPlan,
    runtime: Runtime,
    batch: int,
    dtype: str,
    arguments: argparse.Namespace,
) -> None:
    """Time a network and what it became."""
    number_format = getattr(torch, dtype)
    pair = [copy_network(model), apply_plan(copy_network(model), plan)]
    compute = Compute(CPU, channels_last=not arguments.contiguous)
    for each in pair:
        compute.place_module(each.to(number_format))
    images = compute.place(torch.randn(batch, 3, 224, 224).to(number_format))
    before, after = compare_latency(pair, [images] * 2, compute, arguments.seconds, runtime)
    faster, fewer = before / after, 1 / plan.macs_ratio
    is_targeted = arguments.budget is None and (runtime, dtype, arguments.rank) == (Runtime.EAGER, "float32", 1)
    least = TARGETS.get((name, batch)) if is_targeted else None
    verdict = "" if least is None else f"{least} {'met' if faster >= least else 'MISSED'}"
    print(  # noqa: T201
        f"{name:9} {batch:5} {dtype:8} {runtime:11} {before:12.1f} {after:10.1f} {faster:7.2f}x {fewer:10.2f}x "
        f"{faster / fewer:12.0%}  {verdict}",
        flush=True,
    )
    if arguments.losses and runtime is Runtime.EAGER:
        for title, each in zip(("before", "after"), pair, strict=True):
            print_losses(title, each, images, compute)


def print_losses(title: str, model: nn.Module, images: Tensor, compute: Compute) -> None:
    """Print the time and the page faults of each kind of layer in one pass, medians over the passes."""
    spent: dict[str, list[tuple[float, int]]] = defaultdict(list)
    with watched(model, spent), open_runs([model], [images], compute) as (run,):
        for _ in range(ROUNDS + 1):
            run()
            for passes in spent.values():
                passes.append((0.0, 0))
    for kind, passes in spent.items():
        # What is after the last pass is empty, and the first pass loads libraries.
        times, faults = zip(*passes[1:-1], strict=True)
        print(  # noqa: T201
            f"    {title:7} {kind:28} {1000 * statistics.median(times):9.1f} ms {statistics.median(faults):9.0f} faults"
        )


@contextmanager
def watched(model: nn.Module, spent: dict[str, list[tuple[float, int]]]) -> Iterator[None]:
    """Add what each leaf module takes to the last entry of its kind."""
    started: dict[nn.Module, tuple[float, int]] = {}
    kinds = {module: kind_of(module) for module in leaves(model)}

    def begin(module: nn.Module, _: Any) -> None:
        started[module] = now()

    def end(module: nn.Module, *_: Any) -> None:
        (seconds, faults), (begun, before) = now(), started[module]
        passes = spent[kinds[module]]
        time_before, faults_before = passes.pop() if passes else (0.0, 0)
        passes.append((time_before + seconds - begun, faults_before + faults - before))

    handles = [module.register_forward_pre_hook(begin) for module in kinds]
    handles += [module.register_forward_hook(end) for module in kinds]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def leaves(model: nn.Module) -> list[nn.Module]:
    """Return the modules that have no others in them."""
    return [module for module in model.modules() if not list(module.children())]


def kind_of(module: nn.Module) -> str:
    """Return under which head a module's time is counted."""
    if isinstance(module, nn.Conv2d):
        is_depthwise = module.groups == module.in_channels
        return "depthwise" if is_depthwise else "pointwise (1x1)" if module.kernel_size == (1, 1) else "dense"
    return "classifier" if isinstance(module, nn.Linear) else "norm, activation, pooling"


def now() -> tuple[float, int]:
    """Return the time of this thread in seconds, and the page faults of the process."""
    import resource

    return time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    main()
