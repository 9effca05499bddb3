"""The weights of the best epochs, kept where a run is to end with their mean.

Stochastic weight averaging (Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization)
takes the weights of the last epochs; here they are those of the epochs that validated best. Running statistics are
averaged with the weights, and not estimated again: no image is seen another time.
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

_PREFIX = "kept-"


def kept_folder(run: Path) -> Path:
    """Return where a run keeps the weights of its best epochs, if more than one's."""
    return run / "checkpoints" / "kept"


def keep_weights(run: Path, scored: nn.Module, epoch: int, best: Collection[int]) -> None:
    """Keep an epoch's weights where it is among the best, and let go of those that no longer are.

    Args:
        run: The run's folder.
        scored: The network whose weights were validated.
        epoch: Its epoch.
        best: The best epochs so far.
    """
    folder = kept_folder(run)
    if epoch in best:
        with staged_file(folder / _name(epoch)) as file:
            save_model(scored, str(file))
    names = set(map(_name, best))
    for file in _kept_files(folder):
        if file.name not in names:
            file.unlink()


def copy_kept(run: Path, folder: Path) -> None:
    """Copy all that is kept into the folder of a checkpoint."""
    for file in _kept_files(kept_folder(run)):
        shutil.copyfile(file, folder / file.name)


def restore_kept(run: Path, folder: Path) -> None:
    """Keep what a checkpoint has a copy of, and nothing else."""
    files = _kept_files(folder)
    if not files and not kept_folder(run).is_dir():
        return
    with staged_folder(kept_folder(run)) as staged:
        for file in files:
            shutil.copyfile(file, staged / file.name)


@torch.no_grad()
def load_mean(run: Path, module: nn.Module, epochs: Sequence[int]) -> None:
    """Give a network the mean of the kept weights of some epochs, in place.

    Averaged are parameters and floating-point buffers, summed up in float64; other buffers are those of the first.

    Args:
        run: The run's folder.
        module: The network.
        epochs: The epochs, the best first; at least one.
    """
    first, *others = (str(kept_folder(run) / _name(epoch)) for epoch in epochs)
    load_model(module, first)
    averaged = _floating(module)
    sums = [tensor.cpu().double() for tensor in averaged]
    network = copy.deepcopy(module)
    for file in others:
        load_model(network, file)
        for total, tensor in zip(sums, _floating(network), strict=True):
            total += tensor.cpu().double()
    for tensor, total in zip(averaged, sums, strict=True):
        tensor.copy_(total / len(epochs))


def _floating(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]


def _name(epoch: int) -> str:
    return f"{_PREFIX}{epoch}.safetensors"


def _kept_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*.safetensors"))
