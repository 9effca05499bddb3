"""Model folders of the user's own networks: ``dsft.save`` and ``dsft.load``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from dsft.artifact.folder import load_model_folder, save_model
from dsft.artifact.hub import HubReference, fetch_model_folder
from dsft.choices import TaskName, WeightsKind
from dsft.conversion import ConversionPlan, apply_plan, unwrapped
from dsft.errors import CheckpointError
from dsft.models import identify, stated_preprocessing
from dsft.preprocessing import Preprocessing


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    plan: ConversionPlan | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    task: str = "classification",
    overwrite: bool = False,
) -> None:
    """Write a network, converted or not, as a model folder.

    A network that timm built, with no other arguments than classes and channels, loads by itself again; any other
    is loaded with a skeleton. Give the unconverted network's ``plan`` where ``dsft.convert`` made one.

    Args:
        model: The network; what compiles or distributes it is left out.
        folder: The new folder.
        plan: ``conversion.plan``, where the network was converted.
        classes: Names of its outputs, in order.
        preprocessing: Its evaluation transform; None for what timm states of a network that it built.
        task: What the outputs mean: ``classification`` (one class an image) or ``multi_label`` (any number).
        overwrite: Replace what the folder holds.

    Raises:
        OutputError: The folder is not empty and ``overwrite`` is off.
        CheckpointError: The network keeps more than tensors in its state, or there is no such task.
    """
    model = unwrapped(model)
    spec = identify(model, lambda plain: plain if plan is None else apply_plan(plain, plan))
    if preprocessing is None and spec is not None:
        preprocessing = stated_preprocessing(model, spec)
    save_model(
        Path(folder),
        model,
        spec=spec,
        preprocessing=preprocessing,
        classes=tuple(classes) if classes is not None else None,
        plan=plan,
        weights=WeightsKind.RAW,
        fingerprints={},
        data=None,
        task=_task_named(task),
        overwrite=overwrite,
    )


def _task_named(task: str) -> TaskName:
    if task not in list(TaskName):
        raise CheckpointError(f"task: must be one of {', '.join(TaskName)}, found {task!r}.")
    return TaskName(task)


def load(folder: str | os.PathLike[str], skeleton: nn.Module | None = None) -> nn.Module:
    """Load a model folder, in evaluation mode, on the CPU.

    Args:
        folder: What ``dsft.save`` or a run wrote, or ``hf/OWNER/NAME``: one on the Hugging Face hub.
        skeleton: The unconverted network, needed where the folder does not say how to build it; its weights do
            not matter and it is left as it is.

    Raises:
        CheckpointError: The folder is missing, foreign, damaged, of a newer format, or needs a skeleton.
        ConversionError: The skeleton is no network, or another one than was converted.
    """
    if skeleton is not None:
        skeleton = unwrapped(skeleton)
        if any(tensor.is_meta for tensor in (*skeleton.parameters(), *skeleton.buffers())):
            raise CheckpointError("skeleton: is on the meta device. Build it on the CPU; its weights do not matter.")
    path = Path(folder)
    reference = HubReference.parse(str(path)) if not path.exists() else None
    return load_model_folder(path if reference is None else fetch_model_folder(reference), skeleton).module
