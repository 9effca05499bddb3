"""What a conversion loses and what it takes, beside the first edition: ResNet-32 on CIFAR-10, without training.

The checkpoint and images of ../shared/data (see its README), 2,000 test images, several draws of 512 unlabelled
training images. Each edition converts in processes of its own with one thread; each process also times the dense
network and the converted one in turn, in torch and in ONNX Runtime, so that ratios can be compared between editions.
KL is the mean divergence of the dense network's class probabilities from the converted one's, and agreement the
share of images that get the same class.

    git clone . /tmp/first && git -C /tmp/first checkout 3ec2a73
    python tests/benchmarks/engine.py [/tmp/first] [--shares 0.2 0.3 0.5] [--draws 3] [--recover] [--photographs]
                                      [--curve]

``--recover`` adds a recovery without labels. ``--photographs`` calibrates on crops of scikit-learn's two photographs in
place of training images, which the first edition cannot. ``--curve`` converts the first draw to many shares,
and prints what is lost at equal time, interpolated between them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[2]))  # last: the edition that is measured comes first

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
IMAGES = 512
ROUNDS = 60
CURVE = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
TIMES = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
RUNTIMES = {"eager": "torch", "onnx": "ONNX Runtime"}

Row = dict[str, Any]


def main() -> None:
    """Print one line for each conversion as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", nargs="?", type=Path, help="a checkout of the first edition")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.3, 0.5], help="MACs that are left")
    parser.add_argument("--draws", type=int, default=3, help="draws of the calibration images")
    parser.add_argument("--recover", action="store_true", help="recover as well, where the edition can")
    parser.add_argument(
        "--photographs", action="store_true", help="calibrate on photographs that come with scikit-learn"
    )
    parser.add_argument("--curve", action="store_true", help="print the loss at equal time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        say(json.dumps(measure(json.loads(arguments.one))))
        return
    editions = {"second": ROOT} | ({"first": arguments.first} if arguments.first else {})
    further = {"photographs": arguments.photographs}
    shares = CURVE if arguments.curve else arguments.shares
    draws = 1 if arguments.curve else arguments.draws
    say(f"{'edition':8} {'MACs':>5} draw recovered {'lost':>6} {'KL':>7} {'agree':>6}   torch    ONNX  seconds")
    rows = []
    for share in shares:
        for draw in range(draws):
            for edition, folder in editions.items():
                for recover in [False, True] if arguments.recover and edition == "second" else [False]:
                    row = run(edition, folder, {"share": share, "draw": draw, "recover": recover, **further})
                    if row is not None:
                        rows.append(row)
                        show(row)
    summarize(rows)
    if arguments.curve:
        compare_at_equal_time(rows, list(editions))


def run(edition: str, folder: Path, settings: Row) -> Row | None:
    """Measure one conversion in a process of its own; None, with a line, where the budget cannot be met."""
    environ = {**os.environ, "PYTHONPATH": str(folder.resolve())}
    command = [sys.executable, __file__, "--one", json.dumps(settings)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        say(f"{edition:8} {settings['share']:5.2f} {settings['draw']:4}  {reason}")
        return None
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return {"edition": edition, **settings, **found}


def measure(settings: Row) -> Row:
    """Convert, score and time with the edition that is imported."""
    import dsft
    from tests.cifar import EXAMPLE, load_images, load_resnet32

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dense, (train, _), (images, labels) = load_resnet32(), load_images("train"), load_images("test")
    draw = int(settings["draw"])
    if settings["photographs"]:
        chosen = dsft.photographs((32, 32), IMAGES, seed=draw)
    else:
        chosen = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(draw))[:IMAGES]]
    more: dict[str, Any] = {"recover": True} if settings["recover"] else {}
    started = time.process_time()
    budget = {"macs": settings["share"]}
    converted = dsft.convert(dense, EXAMPLE, calibration=torch.split(chosen, 64), budget=budget, seed=0, **more).model
    seconds = time.process_time() - started
    before, after = predict(dense, images), predict(converted, images)
    agreement, divergence = compare_classes(before, after)
    return {
        "lost": top1(before, labels) - top1(after, labels),
        "kl": divergence,
        "agreement": agreement,
        "eager": time_ratio([as_torch(each, images[:1]) for each in (dense, converted)]),
        "onnx": time_ratio([as_onnx(each, images[:1]) for each in (dense, converted)]),
        "seconds": seconds,
    }


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logarithms of the class probabilities."""
    with torch.inference_mode():
        return torch.cat([model.eval()(part).double().log_softmax(1) for part in torch.split(images, 250)])


def top1(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return top-1 in percent."""
    return 100 * float((log_probabilities.argmax(1) == labels).double().mean())


def compare_classes(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Compare the logarithms of class probabilities ``(images, classes)`` of two networks.

    Returns:
        How often the class is the same, in percent, and the mean Kullback-Leibler divergence of ``before`` from
        ``after``.
    """
    agreement = 100 * float((before.argmax(1) == after.argmax(1)).double().mean())
    return agreement, float((before.exp() * (before - after)).sum(1).mean())


def as_torch(model: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Return one forward pass in torch."""
    module, given = model.to(memory_format=torch.channels_last), image.contiguous(memory_format=torch.channels_last)

    def forward() -> Tensor:
        with torch.inference_mode():
            output: Tensor = module(given)
        return output

    return forward


def as_onnx(model: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Return one forward pass in ONNX Runtime."""
    import onnxruntime

    program = torch.onnx.export(model, (image,), dynamo=True, verbose=False)
    assert program is not None
    buffer = io.BytesIO()
    program.save(buffer)  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, inputs)


def time_ratio(passes: Sequence[Callable[[], Any]]) -> float:
    """Return the time of the second pass over that of the first: medians, in turn, of the time the thread was given."""
    taken: list[list[float]] = [[] for _ in passes]
    for number in range(ROUNDS + 5):
        for times, forward in zip(taken, passes, strict=True):
            started = time.thread_time()
            forward()
            if number >= 5:  # the first ones warm up
                times.append(time.thread_time() - started)
    first, second = (statistics.median(times) for times in taken)
    return second / first


def show(row: Row) -> None:
    """Print one conversion."""
    say(
        f"{row['edition']:8} {row['share']:5.2f} {row['draw']:4} {'yes' if row['recover'] else 'no':>9} "
        f"{row['lost']:6.2f} {row['kl']:7.4f} {row['agreement']:6.2f} {row['eager']:7.2f} {row['onnx']:7.2f} "
        f"{row['seconds']:8.0f}"
    )


def summarize(rows: Iterable[Row]) -> None:
    """Print the means over the draws."""
    groups: dict[tuple[str, float, bool], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["edition"], row["share"], row["recover"]), []).append(row)
    for found in groups.values():
        if len(found) > 1:
            means = {key: statistics.mean(row[key] for row in found) for key in found[0] if key not in _NAMES}
            show({**found[0], **means, "draw": "mean"})


_NAMES = ("edition", "share", "draw", "recover", "photographs")


def compare_at_equal_time(rows: Sequence[Row], editions: Sequence[str]) -> None:
    """Print KL, agreement and points lost at shares of the dense network's time, linear between the conversions."""
    for runtime, name in RUNTIMES.items():
        say(f"\nat equal time in {name}: KL / agreement / points lost")
        for share in TIMES:
            cells = [f"{edition}: {_at_time(rows, edition, runtime, share)}" for edition in editions]
            say(f"  {share:.1f}  " + "   ".join(cells))


def _at_time(rows: Sequence[Row], edition: str, runtime: str, share: float) -> str:
    curve = sorted(
        (row for row in rows if row["edition"] == edition and not row["recover"]), key=lambda row: row[runtime]
    )
    times = [row[runtime] for row in curve]
    if not curve or not times[0] <= share <= times[-1]:
        return "no network of this time"
    values = [float(np.interp(share, times, [row[key] for row in curve])) for key in ("kl", "agreement", "lost")]
    return f"{values[0]:.3f} / {values[1]:.2f} / {values[2]:.2f}"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
