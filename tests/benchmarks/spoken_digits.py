"""Spoken digits: what a conversion to 0.4 of the MACs costs M5 on waveforms and a ResNet-18 on spectrograms.

The shipped recipes ``builtin_audio_*`` and ``timm_audio_*`` on the recordings of ../shared/data (see its README): 600
for training, 180 for the test, six speakers. Prints the accuracy of the dense network, of the converted one untrained
and fine-tuned, seed by seed, then the means, and the time of one recording relative to the dense network. With
``--speaker``, the networks are tested on a speaker whom they did not hear.

    python tests/benchmarks/spoken_digits.py [m5 spectrogram] [--seeds 3] [--speaker theo] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.dense_tasks import ratios_of, read
from tests.benchmarks.finetune import dsft, run, say
from tests.cifar import DATA

RECIPES = {"m5": "builtin_audio", "spectrogram": "timm_audio"}


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[[], *RECIPES], help="all without any")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speaker", help="the speaker who is held out for the test")
    parser.add_argument("--out", type=Path, help="folder for the runs, which are kept; else a temporary one")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        say(f"{DATA} is not there, so nothing is measured.")
        return
    changes = [f"data.root={DATA / 'spoken-digits'}"]
    if arguments.speaker is not None:
        changes.append(f"data.groups={{pattern: '^([a-z]+)_', held_out: [{arguments.speaker}]}}")
    with tempfile.TemporaryDirectory() as temporary:
        out = (arguments.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        for name in arguments.networks or RECIPES:
            measure(name, out, changes, arguments.seeds)


def measure(name: str, out: Path, changes: list[str], seeds: int) -> None:
    """Train, convert and fine-tune a network with every seed, and print what was found."""
    say(f"{name}: {'seed':>4} {'dense':>7} {'untrained':>10} {'fine-tuned':>11} {'eager':>6} {'ONNX Runtime':>13}")
    rows = []
    for seed in range(seeds):
        dense, separable = (out / f"{name}-{part}-{seed}" for part in ("dense", "separable"))
        common = [*changes, f"train.seed={seed}"]
        run("train", f"{RECIPES[name]}_dense", *common, folder=dense)
        run("finetune", f"{RECIPES[name]}_separable", f"model.path={dense / 'model'}", *common, folder=separable)
        slots = ("test-original", "test-converted", "test")
        scores = [read(separable / "evaluation" / slot / "metrics.json")["top1"] for slot in slots]
        rows.append((*scores, *time_ratios(out, separable, dense)))
        say(line(str(seed), rows[-1], len(name)))
    say(line("mean", tuple(statistics.mean(column) for column in zip(*rows, strict=True)), len(name)))


def line(title: str, row: tuple[float, ...], indent: int) -> str:
    """Return a row of the table."""
    dense, untrained, tuned, eager, onnx = row
    return f"{'':{indent}}  {title:>4} {dense:7.2f} {untrained:10.2f} {tuned:11.2f} {eager:6.2f} {onnx:13.2f}"


def time_ratios(out: Path, separable: Path, dense: Path) -> tuple[float, float]:
    """Return the time of the converted network relative to the dense one, in torch and in ONNX Runtime."""
    models = (str(separable / "model"), "--against", str(dense / "model"))
    return ratios_of(dsft(out, "benchmark", *models, "--runtime", "eager,onnxruntime", "--json"))


if __name__ == "__main__":
    main()
