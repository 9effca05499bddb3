"""A small place of work: pictures, recipes, two finished runs, and the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from dsft.cli import app

CLASSES = ("ant", "bee", "cat")

_DENSE = """\
version: 1
name: dense
model: {{source: timm, name: test_resnet}}
data: {{source: folder, root: {root}, image_size: 32, batch_size: 8, workers: 0}}
optim: {{lr: 3e-3}}
schedule: {{epochs: 2}}
output: {{dir: "{runs}/${{name}}"}}
"""
_SEPARABLE = """\
extends: dense.yaml
name: separable
model: {{source: dsft, name: null, path: "{runs}/dense/model"}}
convert: {{budget: {{macs: 0.5}}}}
freeze: [{{until: 1ep, train: [head, converted]}}]
distill: {{teacher: original, logits: 0.5}}
ema: {{decay: 0.9}}
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Workshop:
    """The folders of a session; tests read them and write elsewhere.

    Attributes:
        pictures: One folder of 16 pictures for each class.
        dense_recipe: Trains a small network on them.
        separable_recipe: Converts that network and wins it back.
        dense: The folder of the first run.
        separable: The folder of the second.
    """

    pictures: Path
    dense_recipe: Path
    separable_recipe: Path
    dense: Path
    separable: Path


def open_workshop(folder: Path) -> Workshop:
    """Write the pictures and the recipes, and run both."""
    write_pictures(folder / "pictures", dict.fromkeys(CLASSES, 16))
    dense, separable = folder / "dense.yaml", folder / "separable.yaml"
    places = {"root": (folder / "pictures").as_posix(), "runs": (folder / "runs").as_posix()}
    dense.write_text(_DENSE.format(**places), encoding="utf-8")
    separable.write_text(_SEPARABLE.format(**places), encoding="utf-8")
    for verb, recipe in (("train", dense), ("finetune", separable)):
        done = dsft(verb, recipe)
        assert done.exit_code == 0, done.stderr
    runs = folder / "runs"
    return Workshop(folder / "pictures", dense, separable, runs / "dense", runs / "separable")


def dsft(*arguments: str | Path) -> Outcome:
    """Run the command line in this process; an exception that it lets through is raised here."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def write_pictures(root: Path, counts: Mapping[str, int], *, size: int = 24, seed: int = 0) -> None:
    """Write noisy pictures, a colour for each class."""
    random = np.random.default_rng(seed)
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = random.integers(0, 120, (size, size, 3), dtype=np.uint8)
            pixels[..., number % 3] += 120
            Image.fromarray(pixels).save(root / name / f"{index:03d}.png")


def write_split_pictures(root: Path, classes: Sequence[str] = CLASSES) -> None:
    """Write pictures that come as train, val and test."""
    for seed, (split, count) in enumerate({"train": 6, "val": 3, "test": 3}.items(), start=1):
        write_pictures(root / split, dict.fromkeys(classes, count), seed=seed)


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, by its path; folders have an empty one."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }
