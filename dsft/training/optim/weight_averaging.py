"""Weight averaging: a run can end with the mean of the weights of its best epochs.

Stochastic weight averaging (Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization)
averages the last epochs; here the epochs with the best validation metric are averaged. Running statistics are averaged
as the weights are, and not estimated again from images.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from dsft.storage import staged_file, staged_folder

# The names "kept" are those of run folders on disk.
_PREFIX = "kept-"


def epochs_folder(run: Path) -> Path:
    """Return the folder of the weights of a run's best epochs, if it averages more than one."""
    return run / "checkpoints" / "kept"


def save_epoch(run: Path, evaluated: nn.Module, epoch: int, best: Collection[int]) -> None:
    """Save the weights of an epoch if it is among the best, and delete those of epochs that no longer are.

    Args:
        run: The run's folder.
        evaluated: The network that was validated.
        epoch: Its epoch.
        best: The best epochs so far.
    """
    folder = epochs_folder(run)
    if epoch in best:
        with staged_file(folder / _name(epoch)) as file:
            save_model(evaluated, str(file))
    names = set(map(_name, best))
    for file in _epoch_files(folder):
        if file.name not in names:
            file.unlink()


def copy_epochs(run: Path, folder: Path) -> None:
    """Copy the weights of the best epochs so far into the folder of a checkpoint."""
    for file in _epoch_files(epochs_folder(run)):
        shutil.copyfile(file, folder / file.name)


def restore_epochs(run: Path, folder: Path) -> None:
    """Replace the weights of the best epochs by the copies in a checkpoint."""
    files = _epoch_files(folder)
    if not files and not epochs_folder(run).is_dir():
        return
    with staged_folder(epochs_folder(run)) as staged:
        for file in files:
            shutil.copyfile(file, staged / file.name)


@torch.no_grad()
def load_mean(run: Path, module: nn.Module, epochs: Sequence[int]) -> None:
    """Load the mean of the weights of some epochs into a network.

    Parameters and floating-point buffers are averaged, in float64; other buffers are those of the first epoch.

    Args:
        run: The run's folder.
        module: The network, changed in place.
        epochs: The epochs, the best first; at least one.
    """
    first, *others = (str(epochs_folder(run) / _name(epoch)) for epoch in epochs)
    load_model(module, first)
    averaged = _floating_point_tensors(module)
    sums = [tensor.cpu().double() for tensor in averaged]
    network = copy.deepcopy(module)
    for file in others:
        load_model(network, file)
        for total, tensor in zip(sums, _floating_point_tensors(network), strict=True):
            total += tensor.cpu().double()
    for tensor, total in zip(averaged, sums, strict=True):
        tensor.copy_(total / len(epochs))


def _floating_point_tensors(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]


def _name(epoch: int) -> str:
    return f"{_PREFIX}{epoch}.safetensors"


def _epoch_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*.safetensors"))
