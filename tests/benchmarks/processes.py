"""Training steps per second with two processes, compared with another checkout of dsft.

Each round trains a network on scikit-learn's digits once with either source tree, in two processes on the CPU with one
thread each, which exchange gradients with gloo. Printed are the median and the best of the epochs after the first one,
the processor time of a whole run, and the training loss of the last epoch. Rounds are interleaved, so that other work
on the machine affects both alike; the best epoch and the processor time are affected least.

    git clone . /tmp/first && git -C /tmp/first checkout 3ec2a73
    python tests/benchmarks/processes.py /tmp/first [--rounds 3] [--networks resnet18 mobilenetv2_100]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = """
version: 1
name: processes
model: {{source: timm, name: {network}, in_chans: 1}}
data: {{source: digits, image_size: 32, batch_size: {batch_size}, workers: 0,
       val: {{fraction: 0.05}}, test: {{fraction: 0.4}}}}
optim: {{opt: adamw, lr: 1e-3, clip_grad: 1.0}}
schedule: {{epochs: {epochs}}}
train: {{device: cpu, amp: none}}
evaluate: {{splits: [val]}}
log: {{progress: "off"}}
"""
PROCESSES = 2
BATCH_SIZE = 64


@dataclass(frozen=True)
class Training:
    """Result of one training run.

    Attributes:
        rates: Training steps per second in each epoch.
        loss: Training loss of the last epoch.
        seconds: Processor time of both processes, with start and evaluation.
    """

    rates: tuple[float, ...]
    loss: float
    seconds: float


def main() -> None:
    """Print a line per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", help="source tree to compare with, such as the first edition")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "mobilenetv2_100"])
    arguments = parser.parse_args()
    trees = [arguments.checkout.resolve(), ROOT] if arguments.checkout else [ROOT]
    with tempfile.TemporaryDirectory() as folder:
        for network in arguments.networks:
            recipe = Path(folder) / f"{network}.yaml"
            recipe.write_text(
                RECIPE.format(network=network, batch_size=BATCH_SIZE, epochs=arguments.epochs), encoding="utf-8"
            )
            compare(network, recipe, trees, arguments.rounds)


def compare(network: str, recipe: Path, trees: Sequence[Path], rounds: int) -> None:
    """Print the results of a network, one line per source tree."""
    runs: dict[Path, list[Training]] = {tree: [] for tree in trees}
    for number in range(rounds):
        # Every other round begins with the other tree.
        for tree in trees if number % 2 == 0 else reversed(trees):
            runs[tree].append(train(tree, recipe, recipe.with_suffix("") / f"{trees.index(tree)}-{number}"))
    sys.stdout.write(f"{network}\n")
    for tree in trees:
        rates = [rate for run in runs[tree] for rate in run.rates[1:]]
        seconds = statistics.median(run.seconds for run in runs[tree])
        sys.stdout.write(
            f"  {statistics.median(rates):6.2f} steps/s, best {max(rates):6.2f}, processor time {seconds:6.1f} s, "
            f"loss {runs[tree][0].loss:.6f}  {tree}\n"
        )
    sys.stdout.flush()


def train(tree: Path, recipe: Path, run: Path) -> Training:
    """Train in two processes with the package of a source tree."""
    port = free_port()
    command = [sys.executable, "-m", "dsft", "train", str(recipe), f"output.dir={run.as_posix()}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = [
        subprocess.Popen(command, cwd=recipe.parent, env=environment(tree, rank, port), stdout=subprocess.DEVNULL)
        for rank in range(PROCESSES)
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(f"{tree}: training failed with exit codes {codes}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    rates = [epoch["images_per_second"] / BATCH_SIZE for epoch in epochs]
    return Training(tuple(rates), epochs[-1]["train_loss"], seconds)


def environment(tree: Path, rank: int, port: int) -> dict[str, str]:
    """Return the variables that torchrun would set, for a process on one thread."""
    launch = {"RANK": str(rank), "WORLD_SIZE": str(PROCESSES), "LOCAL_RANK": str(rank)}
    place = {"LOCAL_WORLD_SIZE": str(PROCESSES), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    own = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **launch, **place, **own}


def free_port() -> int:
    """Return a port that no process uses."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    main()
