"""What is left of the accuracy after a conversion and a fine-tune, beside the dense network trained equally long.

timm's ResNet-18, trained on the 10,000 JPEG images of ../shared/data (see its README), is converted to a share of its
multiply-accumulates and fine-tuned; the dense one is trained further by the same recipe, with the same teacher. Prints
top-1 on the 2,000 test images, seed by seed, and the mean difference.

    python tests/benchmarks/finetune.py [--seeds 3] [--epochs 15] [--more 8] [--macs 0.35] [--out FOLDER]
                                       [--structures dw_pw,pw_dw]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cifar import DATA

DENSE = """
version: 1
model: {source: timm, name: resnet18}
data: {source: folder, image_size: 32, batch_size: 128, val: {fraction: 0.05}}
augment: {scale: [0.6, 1.0], hflip: 0.5}
optim: {opt: adamw, lr: 2e-3, weight_decay: 0.05, clip_grad: 1.0}
schedule: {sched: cosine, warmup_epochs: 1}
ema: {decay: 0.999}
"""
FURTHER = """
extends: ./dense.yaml
model: {source: dsft, name: null}
optim: {lr: 1e-3}
distill: {logits: 0.5, temperature: 2.0}
"""


def main() -> None:
    """Print a line for each seed, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15, help="of the dense network")
    parser.add_argument("--more", type=int, default=8, help="epochs of both after that")
    parser.add_argument("--macs", type=float, default=0.35)
    parser.add_argument("--structures", default="auto", help="auto, or names separated by commas")
    parser.add_argument("--out", type=Path, help="folder for the runs; else a temporary one")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        say(f"{DATA} is not there, so nothing is measured.")
        return
    with tempfile.TemporaryDirectory() as temporary:
        compare((arguments.out or Path(temporary)).resolve(), arguments)


def compare(out: Path, arguments: argparse.Namespace) -> None:
    """Train, convert and compare with every seed."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "dense.yaml").write_text(DENSE, encoding="utf-8")
    (out / "further.yaml").write_text(FURTHER, encoding="utf-8")
    say(
        f"{'seed':>4} {'dense':>7} {'dense, trained on':>18} {'separable':>10} {'difference':>11} {'95 % interval':>15}"
    )
    differences = []
    for seed in range(arguments.seeds):
        common = [f"data.root={DATA / 'cifar10-jpeg'}", f"train.seed={seed}"]
        first, longer, separable = (out / f"{name}-{seed}" for name in ("dense", "longer", "separable"))
        run("train", "dense.yaml", f"schedule.epochs={arguments.epochs}", *common, folder=first)
        model, further = f"model.path={first / 'model'}", f"schedule.epochs={arguments.more}"
        run("finetune", "further.yaml", model, further, f"distill.teacher={first / 'model'}", *common, folder=longer)
        structures = "auto" if arguments.structures == "auto" else f"[{arguments.structures}]"
        convert = [f"convert.budget.macs={arguments.macs:g}", f"convert.structures={structures}"]
        run("finetune", "further.yaml", model, further, *convert, "distill.teacher=original", *common, folder=separable)
        models = [str(folder) for folder in (longer, first, separable)]
        scores = json.loads(dsft(out, "evaluate", *models, "--json"))["models"]
        low, high = scores[2]["difference"]["interval"]
        tops = [each["metrics"]["top1"] for each in scores]
        differences.append(tops[2] - tops[0])
        say(
            f"{seed:4} {tops[1]:7.2f} {tops[0]:18.2f} {tops[2]:10.2f} {differences[-1]:11.2f} {low:7.2f} to {high:5.2f}"
        )
    spread = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    say(f"mean difference {statistics.mean(differences):.2f} points, standard error over the seeds {spread:.2f}")


def run(verb: str, recipe: str, *changes: str, folder: Path) -> None:
    """Run one recipe, going on where an earlier run of it was interrupted, unless it is done."""
    if not (folder / "model").is_dir():
        dsft(folder.parent, verb, recipe, f"name={folder.name}", f"output.dir={folder}", *changes, "--overwrite")


def dsft(folder: Path, *words: str) -> str:
    """Run a command in a folder with one thread, and return what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "dsft", *words, "--progress", "off"]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}.")
    return done.stdout


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
