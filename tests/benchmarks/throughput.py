"""Images per second in training, beside timm's own training script: the same network, folder and batch, one thread.

The script is not part of timm's package: give a checkout of https://github.com/huggingface/pytorch-image-models.
dsft runs with settings like the script's (one worker process, no channels_last, no cache of decoded images), and with
its defaults. The second of two epochs counts. Everything runs in turn; the ratios are medians over the rounds, with the
least and the largest.

    python tests/benchmarks/throughput.py TIMM_CHECKOUT [--rounds 7] [--sides 32 128] [--opts sgd adamw] [--device cpu]
                                           [--settings "like timm's" defaults]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = {32: 2048, 128: 512}
"""Training images of each size: some seconds of an epoch."""

BATCH, CLASSES = 64, 8
LIKE = ("train.channels_last=false", "data.cache=none", "data.workers=1")
SETTINGS: Mapping[str, Sequence[str]] = {
    "like timm's": LIKE,
    "channels_last": ("data.cache=none", "data.workers=1"),
    "and a cache": ("data.workers=1",),
    "defaults": (),
}
RATE = re.compile(r"Time: [^(]*\([^,]*,\s*([\d.]+)/s\)")
"""The mean rate so far, in a line of the script's log."""

RECIPE = """
name: ours
version: 1
model: {source: timm, name: resnet18}
augment: {scale: [0.6, 1.0], hflip: 0.5}
optim: {lr: 0.01, weight_decay: 1e-4}
schedule: {sched: cosine, epochs: 2, warmup_epochs: 0}
evaluate: {splits: [val]}
"""


def main() -> None:
    """Print a line for each size and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sides", type=int, nargs="+", default=list(IMAGES))
    parser.add_argument("--opts", nargs="+", default=["sgd", "adamw"], help="the optimizer of both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    for side, opt in itertools.product(arguments.sides, arguments.opts):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_images(folder / "data", side, IMAGES.get(side, 512))
            (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
            compare(folder, side, opt, arguments)


def compare(folder: Path, side: int, opt: str, arguments: argparse.Namespace) -> None:
    """Time the script and every setting in turn."""
    theirs: list[float] = []
    ours: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.settings}
    for _ in range(arguments.rounds):
        theirs.append(time_script(folder, side, opt, arguments))
        for name, runs in ours.items():
            runs.append(time_dsft(folder, side, [f"optim.opt={opt}", *SETTINGS[name]], arguments.device))
    say(f"{side} x {side}, {opt}: timm's script {statistics.median(theirs):.0f} images/s, {arguments.rounds} rounds")
    for name, runs in ours.items():
        ratios = [rate / other for (rate, _), other in zip(runs, theirs, strict=True)]
        rates, shares = zip(*runs, strict=True)
        say(
            f"    {name:14} {statistics.median(rates):6.0f} images/s, {statistics.median(ratios):.3f} of it "
            f"({min(ratios):.3f} to {max(ratios):.3f}); waits for images {statistics.median(shares):.1%} of the time"
        )


def time_script(folder: Path, side: int, opt: str, arguments: argparse.Namespace) -> float:
    """Return the images per second of the second epoch of the script."""
    words = (
        f"--data-dir {folder / 'data'} --model resnet18 --num-classes {CLASSES} --img-size {side} --epochs 2 "
        f"--batch-size {BATCH} --workers 1 --device {arguments.device} --scale 0.6 1 --color-jitter 0 "
        f"--train-interpolation bicubic --opt {opt} --lr 0.01 --weight-decay 1e-4 --sched cosine --warmup-epochs 0 "
        f"--output {folder / 'out'} --val-split val"
    )
    said = run([str((arguments.checkout / "train.py").resolve()), *words.split()], folder, arguments.checkout.resolve())
    return float(RATE.findall(said)[-1])


def time_dsft(folder: Path, side: int, changes: Sequence[str], device: str) -> tuple[float, float]:
    """Return the images per second of the second epoch, and the share of the time that waits for images."""
    data = ["data.source=folder", "data.root=data", f"data.image_size={side}", f"data.batch_size={BATCH}"]
    words = [*data, "output.dir=ours", f"train.device={device}", *changes]
    run(["-m", "dsft", "train", "recipe.yaml", *words, "--overwrite", "--progress", "off"], folder, ROOT)
    figures = json.loads((folder / "ours" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return figures["images_per_second"], figures["data_share"]


def run(words: Sequence[str], folder: Path, path: Path) -> str:
    """Run Python in a folder with one thread, and return all that it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}")
    return done.stdout


def write_images(folder: Path, side: int, count: int) -> None:
    """Write JPEGs with something to decode, and a few to validate on."""
    random = np.random.default_rng(0)
    for split, images in (("train", count), ("val", BATCH)):
        for number in range(images):
            path = folder / split / str(number % CLASSES) / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
