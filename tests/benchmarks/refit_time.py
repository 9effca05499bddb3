"""What a refit takes: ResNet-18 at 0.35 of its MACs with 256 images of 224 x 224, one thread: seconds and memory.

Random weights and random images, which take as long as others.

    python tests/benchmarks/refit_time.py [--model resnet18] [--images 256] [--macs 0.35]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torchvision

import dsft
from dsft.progress import Event, Started

SECONDS, GIBIBYTES = 300.0, 3.0
"""What the default case may take."""


def main() -> None:
    """Convert once, and print each part as it begins, and what the whole took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--macs", type=float, default=0.35)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = getattr(torchvision.models, arguments.model)(weights=None).eval()
    images = torch.randn(arguments.images, 3, 224, 224)
    started, spent = time.monotonic(), time.process_time()

    def show(event: Event) -> None:
        if isinstance(event, Started):
            print(f"{time.process_time() - spent:7.1f} s  {event.task} ({event.total} {event.unit})", flush=True)  # noqa: T201

    budget = {"macs": arguments.macs}
    dsft.convert(model, images[:1], calibration=images, budget=budget, report=show)
    seconds, processor = time.monotonic() - started, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(  # noqa: T201
        f"{arguments.model}, {arguments.images} images: {seconds:.0f} s, {processor:.0f} s of the processor "
        f"(at most {SECONDS:.0f}); peak memory {peak:.2f} GiB (at most {GIBIBYTES:g})"
    )


if __name__ == "__main__":
    main()
