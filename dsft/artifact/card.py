"""The model card: ``README.md`` of a model folder."""

from __future__ import annotations

import textwrap

from dsft.artifact.manifest import WEIGHTS_FILE, Manifest
from dsft.choices import InputKind, ModelSource, TaskName, WeightsKind

_KINDS = {
    WeightsKind.EMA: "averaged (EMA) weights",
    WeightsKind.RAW: "weights of the last step",
    WeightsKind.AVERAGE: "mean of the weights of the best epochs",
}
_PIPELINES = {
    TaskName.SEGMENTATION: "image-segmentation",
    TaskName.DETECTION: "object-detection",
    TaskName.RESTORATION: "image-to-image",
}
_CLASSIFICATION = {
    InputKind.IMAGE: "image-classification",
    InputKind.SIGNAL: "audio-classification",
    InputKind.CLIP: "video-classification",
    InputKind.TEXT: "text-classification",
}
"""The Hugging Face hub's names of tasks, and of classification those by what is classified."""

_LONGEST = 400  # characters of a value; a vocabulary has more
_LOADING = """\
```python
import dsft

model = dsft.load("PATH/OF/THIS/FOLDER"{skeleton})
```
"""


def model_card(manifest: Manifest) -> str:
    """Return the model card in Markdown: what the model is, which input it takes, how to load it."""
    is_known = manifest.source is not None and manifest.source.source is not ModelSource.PYTHON
    title = str(manifest.source) if manifest.source else "Custom network"
    sections = [
        f"# {title}, {'converted' if manifest.plan else 'dense'}",
        _origin(manifest),
        "## Load\n",
        _LOADING.format(skeleton="" if is_known else ", skeleton=YourNetwork()"),
        "## Input\n",
        _input(manifest),
        "## Classes\n",
        _classes(manifest),
        "## Files\n",
        f"`{WEIGHTS_FILE}` holds the tensors (SHA-256 `{manifest.sha256}`), `manifest.json` everything else that is "
        f"needed to rebuild the network.",
    ]
    return "\n".join(sections) + "\n"


def hub_header(manifest: Manifest) -> str:
    """Return the metadata block that the Hugging Face hub reads at the top of a model card."""
    task = _PIPELINES.get(manifest.task) or _CLASSIFICATION[_kind(manifest)]
    tags = ["dsft", task, *(["depthwise-separable"] if manifest.plan else [])]
    lines = ["library_name: dsft", f"pipeline_tag: {task}", "tags:", *(f"- {tag}" for tag in tags)]
    if manifest.source is not None and manifest.source.source is ModelSource.TIMM and "." in manifest.source.name:
        # Only names with a tag of weights have a repository on the hub.
        lines.append(f"base_model: timm/{manifest.source.name}")
    return "\n".join(["---", *lines, "---", "", ""])


def _kind(manifest: Manifest) -> InputKind:
    return manifest.preprocessing.kind if manifest.preprocessing is not None else InputKind.IMAGE


def _origin(manifest: Manifest) -> str:
    kind = _KINDS[manifest.weights]
    text = f"Written by dsft {manifest.versions['dsft']}; {kind}."
    if manifest.plan is not None:
        plan = manifest.plan
        text += (
            f" {len(plan.converted)} of {len(plan.layers)} convolutions are depthwise-separable (method "
            f"`{plan.method}`): {plan.macs_after:,} multiply-accumulates per {_kind(manifest)} instead of "
            f"{plan.macs_before:,}."
        )
    return f"{text}\n"


def _input(manifest: Manifest) -> str:
    if manifest.preprocessing is None:
        return "Unknown.\n"
    values = {key: textwrap.shorten(str(value), _LONGEST) for key, value in manifest.preprocessing.to_dict().items()}
    rows = [f"| {key} | `{value.replace('|', ' ')}` |" for key, value in values.items()]
    return "\n".join(["| evaluation transform | |", "|---|---|", *rows, ""])


def _classes(manifest: Manifest) -> str:
    if manifest.classes is None:
        return "Unknown.\n"
    shown = ", ".join(f"`{name}`" for name in manifest.classes[:20])
    rest = f" and {len(manifest.classes) - 20} more" if len(manifest.classes) > 20 else ""
    several = f"; any number of them per {_kind(manifest)} (sigmoid)" if manifest.task is TaskName.MULTI_LABEL else ""
    return f"{len(manifest.classes)}: {shown}{rest}{several}\n"
