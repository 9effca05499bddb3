"""A table of measured layer times on disk, so that nothing is measured twice on one machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.progress import Note, Report, ignore
from dsft.runtimes.latency import compare_latency, device_name
from dsft.runtimes.registry import RUNTIMES
from dsft.storage import cache_folder, write_json

FORMAT = 2
"""Format version of the file."""

SECONDS = 0.03
"""Seconds of measurement per layer of a comparison."""

Builder = Callable[[], nn.Module]
Entries = dict[str, dict[str, float]]


@dataclass
class LatencyTable:
    """Times of layers on one device, in one layout, number format and runtime.

    A row has a text as its key, the subject: a layer and the shape of its input. Its entries are the time of this
    layer and the times of its possible replacements. A missing replacement is measured interleaved with the original
    layer and stored relative to its time, so that entries of different measurements can be compared. The file records
    the conditions of the measurements: one of another machine or version is not read. A damaged file is discarded.

    Attributes:
        compute: The device, number format and layout.
        runtime: What runs the layers.
        report: Receives a note if the file is damaged or cannot be written.
        threads: Number of threads per operator.
    """

    compute: Compute
    runtime: Runtime = Runtime.EAGER
    report: Report = ignore
    threads: int = 1
    _entries: Entries | None = field(default=None, init=False, repr=False)

    def times(
        self, subject: str, original: Builder, others: Mapping[str, Builder], images: Callable[[], Tensor]
    ) -> tuple[float, dict[str, float]]:
        """Return the times of a layer and of its possible replacements; measure those that are missing.

        Args:
            subject: Unique key of the layer with its input and number format.
            original: Builds the layer.
            others: For each replacement a key, unique for this layer, and a function that builds it.
            images: Creates the input.

        Returns:
            The median time of the layer and those of the replacements, in milliseconds.

        Raises:
            ModelError: The runtime is not installed, or cannot run the layers.
        """
        known = self._read().get(subject, {})
        missing = [name for name in others if name not in known]
        if missing or ORIGINAL not in known:
            measured = self._measure([original, *(others[name] for name in missing)], images)
            shares = {name: time / measured[0] for name, time in zip(missing, measured[1:], strict=True)}
            self._store(subject, {ORIGINAL: measured[0], **known, **shares})
            known = self._read()[subject]
        return known[ORIGINAL], {name: known[name] * known[ORIGINAL] for name in others}

    @property
    def path(self) -> Path:
        """The file of the table."""
        digest = hashlib.sha256(json.dumps(self._conditions(), sort_keys=True).encode()).hexdigest()
        return cache_folder() / "latency" / f"{self.runtime}-{digest[:16]}.json"

    def _measure(self, builders: Sequence[Builder], images: Callable[[], Tensor]) -> tuple[float, ...]:
        example = self.compute.place(images())
        # The random weights do not affect the times, and must not advance the caller's random state.
        with torch.random.fork_rng(devices=[example.device] if example.is_cuda else []):
            layers = [build().to(example.device) for build in builders]
        if self.compute.channels_last and example.dim() == 4:
            for layer in layers:
                layer.to(memory_format=torch.channels_last)
        seconds = SECONDS * len(layers)
        return compare_latency(layers, [example] * len(layers), self.compute, seconds, self.runtime, self.threads)

    def _conditions(self) -> dict[str, Any]:
        support = RUNTIMES[self.runtime]
        return {
            "format": FORMAT,
            "device": device_name(self.compute.device),
            "instructions": torch.backends.cpu.get_cpu_capability() if self.compute.device.type == "cpu" else "",
            "threads": self.threads,
            "amp": str(self.compute.amp_dtype if support.uses_compute else None),
            "layout": "channels_last" if support.uses_compute and self.compute.channels_last else "contiguous",
            "runtime": str(self.runtime),
            "versions": {name: importlib.metadata.version(name) for name in support.packages},
        }

    def _read(self) -> Entries:
        if self._entries is None:
            self._entries = self._load()
        return self._entries

    def _load(self) -> Entries:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            entries = {
                subject: {name: _positive(value) for name, value in row.items()}
                for subject, row in content["times"].items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.report(Note(f"latency table {str(self.path)!r} cannot be read. Its times are measured again."))
            return {}
        return entries if content.get("measured_on") == self._conditions() else {}

    def _store(self, subject: str, row: dict[str, float]) -> None:
        # Another process may have written since.
        entries = {**self._load(), **self._read(), subject: row}
        self._entries = entries
        try:
            write_json(self.path, {"measured_on": self._conditions(), "times": entries})
        except OSError as error:
            self.report(
                Note(f"latency table {str(self.path)!r} cannot be written ({error}). Its times hold for this run only.")
            )


ORIGINAL = "ms"
"""Key of the original layer's time in milliseconds; the other entries of a row are relative to it."""


def _positive(value: Any) -> float:
    if not isinstance(value, float | int) or not 0 < value < math.inf:
        raise ValueError(f"expected a time above 0, found {value!r}")
    return float(value)
