"""``dsft.save`` and ``dsft.load``: model folders from Python, for any ``nn.Module``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from dsft.artifact.folder import load_model_folder, save_model
from dsft.artifact.locate import find_model_folder
from dsft.artifact.manifest import ModelDescription
from dsft.choices import TaskName
from dsft.conversion import ConversionPlan, replay_plan, unwrap_network
from dsft.errors import CheckpointError
from dsft.models import identify, preprocessing_from_module
from dsft.preprocessing import InputPreprocessing


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    plan: ConversionPlan | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: InputPreprocessing | None = None,
    task: str = "classification",
    overwrite: bool = False,
) -> None:
    """Save a network, converted or not, as a model folder.

    A network that timm built with default arguments, except for the number of classes and channels, can be loaded
    without a skeleton. Any other network needs one. Pass the ``plan`` if ``dsft.convert`` made one.

    Args:
        model: The network. Wrappers of ``torch.compile`` and of data parallelism are removed.
        folder: The new folder.
        plan: ``conversion.plan`` of a converted network.
        classes: Class names in the order of the outputs.
        preprocessing: The evaluation transform; None takes the one that timm records for a network that it built.
        task: What the outputs mean, one of :class:`dsft.choices.TaskName`.
        overwrite: Replace an earlier model folder.

    Raises:
        OutputError: The folder is not empty and ``overwrite`` is off.
        CheckpointError: The network's state holds more than tensors, or the task is unknown.
    """
    model = unwrap_network(model)
    spec = identify(model, lambda plain: plain if plan is None else replay_plan(plain, plan))
    if preprocessing is None and spec is not None:
        preprocessing = preprocessing_from_module(model, spec)
    description = ModelDescription(
        spec=spec,
        preprocessing=preprocessing,
        classes=tuple(classes) if classes is not None else None,
        plan=plan,
        task=_task_named(task),
    )
    save_model(Path(folder), model, description, overwrite=overwrite)


def _task_named(task: str) -> TaskName:
    if task not in list(TaskName):
        raise CheckpointError(f"task: expected one of {', '.join(TaskName)}, found {task!r}.")
    return TaskName(task)


def load(folder: str | os.PathLike[str], skeleton: nn.Module | None = None) -> nn.Module:
    """Load a model folder, in evaluation mode, on the CPU.

    Args:
        folder: A model folder, such as ``dsft.save`` writes, a run folder, or ``hf/OWNER/NAME`` for a model folder on
            the Hugging Face hub.
        skeleton: The unconverted network, required if the folder does not record how to build it. Its weights do
            not matter, and it is not modified.

    Raises:
        CheckpointError: The folder is missing, damaged, of a newer version, was not written by dsft, or needs a
            skeleton.
        ConversionError: The skeleton is not a module, or the plan was made for another network.
    """
    if skeleton is not None:
        skeleton = unwrap_network(skeleton)
        if any(tensor.is_meta for tensor in (*skeleton.parameters(), *skeleton.buffers())):
            raise CheckpointError(
                "skeleton: expected a network on the CPU, found one on the meta device. Its weights do not matter."
            )
    return load_model_folder(find_model_folder(Path(folder)), skeleton).module
