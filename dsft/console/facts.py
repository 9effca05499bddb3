"""Tables of facts about a network or the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from dsft.console.tables import build_table
from dsft.number_format import count, plural

_MOST_CLASSES = 10
_MOST_VALUES = 8


def facts_table(facts: Mapping[str, Any]) -> Table:
    """List what ``dsft models show`` has found."""
    rows = {
        "network": facts["network"],
        "input": " x ".join(map(str, facts["image_size"])),
        "parameters": count(facts["params"]),
        "MACs": count(facts["macs"]),
    }
    if (manifest := facts["manifest"]) is not None:
        rows |= _manifest_rows(manifest)
    return _pairs_table(rows)


def environment_table(found: Mapping[str, Any]) -> Table:
    """List what ``dsft env`` has found."""
    cpu, caches = found["cpu"], found["caches"]
    rows = {name: version or "not installed" for name, version in found["versions"].items()}
    rows |= {
        "platform": found["platform"],
        "CPU": f"{cpu['name']}, {cpu['cores_allowed']} of {plural(cpu['cores'], 'core')}, "
        f"{plural(cpu['torch_threads'], 'torch thread')}",
    }
    for device in found["accelerators"]:
        memory = f", {device['bytes'] / 2**30:.1f} GiB" if device["bytes"] else ""
        rows[device["device"]] = device["name"] + memory
    if not found["accelerators"]:
        rows["accelerators"] = "none"
    rows |= {f"runtime {name}": reason or "usable" for name, reason in found["runtimes"].items()}
    rows |= {f"cache of {name}": folder for name, folder in caches.items()}
    rows["network"] = "off (HF_HUB_OFFLINE)" if found["offline"] else "allowed"
    return _pairs_table(rows)


def _pairs_table(rows: Mapping[str, str]) -> Table:
    return build_table(["fact", "value"], [list(row) for row in rows.items()])


def _shown(value: Any) -> str:
    """Return a JSON value in few characters: a vocabulary has thousands of words, a mean many digits."""
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_shown, value))})" if len(value) <= _MOST_VALUES else f"({len(value):,} values)"
    if isinstance(value, Mapping):
        return f"({', '.join(f'{name} {_shown(part)}' for name, part in value.items())})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _manifest_rows(manifest: Mapping[str, Any]) -> dict[str, str]:
    plan, classes, data = manifest["plan"], manifest["classes"], manifest["data"]
    rows = {"weights": f"{manifest['weights']}, sha256 {manifest['sha256']}"}
    if plan is not None:
        converted = sum(layer["decision"] == "converted" for layer in plan["layers"])
        share = plan["macs_after"] / (plan["macs_before"] or 1)
        convolutions = plural(len(plan["layers"]), "convolution")
        rows["conversion"] = f"{converted} of {convolutions} by {plan['method']}, x {share:.3f} of the MACs"
    if classes is not None:
        shown = ", ".join(classes[:_MOST_CLASSES])
        rows["classes"] = f"{len(classes)}: {shown}{', ...' if len(classes) > _MOST_CLASSES else ''}"
    if (preprocessing := manifest["preprocessing"]) is not None:
        rows["preprocessing"] = ", ".join(f"{name} {_shown(value)}" for name, value in preprocessing.items())
    if data is not None:
        rows["trained on"] = ", ".join(str(data[key]) for key in ("source", "name", "root") if data.get(key))
    return rows | {"written by": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())}
