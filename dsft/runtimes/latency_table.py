"""A table of measured times that is kept on disk, so that nothing is measured twice on one machine."""

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
from dsft.storage import cache_folder, write_json

FORMAT = 2
"""Version of the file."""

SECONDS = 0.03
"""How long one contestant is measured; a comparison lasts as many times as long as it has contestants."""

Builder = Callable[[], nn.Module]
Entries = dict[str, dict[str, float]]


@dataclass
class LatencyTable:
    """Times of layers on one device, in one layout, number format and runtime.

    Layers are known by text: a subject, such as a convolution and the shape of its input, and beside it what may
    stand in its place. What is not known yet is measured in turn with the subject, and kept as its share of the
    subject's time, so that entries of different moments can be compared. The file names what was measured on; one
    of another machine or version is never read, and a damaged one is measured anew.

    Attributes:
        compute: The device, number format and layout.
        runtime: What runs the layers.
        report: Receives a note where the file is damaged or cannot be written.
    """

    compute: Compute
    runtime: Runtime = Runtime.EAGER
    report: Report = ignore
    _entries: Entries | None = field(default=None, init=False, repr=False)

    def times(
        self, subject: str, original: Builder, others: Mapping[str, Builder], images: Callable[[], Tensor]
    ) -> tuple[float, dict[str, float]]:
        """Return the time of a layer and of what may stand in its place, measuring what is not known yet.

        Args:
            subject: What tells the layer and its input from all others, the number format included.
            original: Builds the layer.
            others: Builds each of the others, by what tells it from all other things in the layer's place.
            images: Makes the input.

        Returns:
            The median time of the layer in milliseconds, and those of the others.

        Raises:
            ModelError: The runtime is not installed, or cannot run the layers.
        """
        known = self._read().get(subject, {})
        missing = [name for name in others if name not in known]
        if missing or ORIGINAL not in known:
            measured = self._measure([original, *(others[name] for name in missing)], images)
            shares = {name: time / measured[0] for name, time in zip(missing, measured[1:], strict=True)}
            self._keep(subject, {ORIGINAL: measured[0], **known, **shares})
            known = self._read()[subject]
        return known[ORIGINAL], {name: known[name] * known[ORIGINAL] for name in others}

    @property
    def path(self) -> Path:
        """The file that the table is kept in."""
        digest = hashlib.sha256(json.dumps(self._circumstances(), sort_keys=True).encode()).hexdigest()
        return cache_folder() / "latency" / f"{self.runtime}-{digest[:16]}.json"

    def _measure(self, builders: Sequence[Builder], images: Callable[[], Tensor]) -> tuple[float, ...]:
        example = self.compute.place(images())
        # The weights do not matter, so drawing them shall not move the caller's random numbers on.
        with torch.random.fork_rng(devices=[example.device] if example.is_cuda else []):
            layers = [build().to(example.device) for build in builders]
        if self.compute.channels_last and example.dim() == 4:
            for layer in layers:
                layer.to(memory_format=torch.channels_last)
        seconds = SECONDS * len(layers)
        return compare_latency(layers, [example] * len(layers), self.compute, seconds, self.runtime)

    def _circumstances(self) -> dict[str, Any]:
        is_eager = self.runtime is Runtime.EAGER
        return {
            "format": FORMAT,
            "device": device_name(self.compute.device),
            "instructions": torch.backends.cpu.get_cpu_capability() if self.compute.device.type == "cpu" else "",
            "threads": 1,
            "amp": str(self.compute.amp_dtype if is_eager else None),
            "layout": "channels_last" if is_eager and self.compute.channels_last else "contiguous",
            "runtime": str(self.runtime),
            "versions": {name: importlib.metadata.version(name) for name in _PACKAGES[self.runtime]},
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
            self.report(Note(f"latency table {str(self.path)!r} cannot be read; what it held is measured anew."))
            return {}
        return entries if content.get("measured_on") == self._circumstances() else {}

    def _keep(self, subject: str, row: dict[str, float]) -> None:
        # Another process may have measured meanwhile.
        entries = {**self._load(), **self._read(), subject: row}
        self._entries = entries
        try:
            write_json(self.path, {"measured_on": self._circumstances(), "times": entries})
        except OSError as error:
            self.report(Note(f"latency table {str(self.path)!r} cannot be written ({error}); it holds for this run."))


ORIGINAL = "ms"
"""The entry that is a time in milliseconds; all others of a row are shares of it."""

_PACKAGES = {Runtime.EAGER: ["torch"], Runtime.ONNXRUNTIME: ["torch", "onnxruntime", "onnxscript"]}


def _positive(value: Any) -> float:
    if not isinstance(value, float | int) or not 0 < value < math.inf:
        raise ValueError(f"a time above 0 is needed, found {value!r}")
    return float(value)
