"""Artificial texts whose class depends on the order of their words."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_FILLERS = ("the", "film", "was", "and", "a", "plot", "actors", "of", "it", "with", "scene", "music", "but", "end")


def make_texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return texts with their class: ``pos`` has "not bad" or "very good", ``neg`` has "not good" or "very bad".

    A text of either class has all four words, so that a network has to see which of them are neighbours.
    """
    generator = np.random.default_rng(seed)
    rows = list[tuple[str, str]]()
    for number in range(count):
        pairs = [("not", "bad"), ("very", "good")] if number % 2 else [("not", "good"), ("very", "bad")]
        generator.shuffle(pairs)
        parts = [*map(" ".join, pairs)]
        for part in parts[::-1]:
            place = parts.index(part)
            parts[place:place] = generator.choice(_FILLERS, generator.integers(1, 4)).tolist()
        rows.append((" ".join(parts).capitalize() + ".", "pos" if number % 2 else "neg"))
    return rows


def write_texts(file: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = ("text", "label")) -> Path:
    """Write a CSV file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([columns, *rows])
    return file
