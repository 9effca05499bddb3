"""Weights files: reading one safely, and fitting its tensors into a module."""

from __future__ import annotations

import argparse
import copy
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from dsft.compat.torch_compile import COMPILED_PREFIX
from dsft.compat.torch_state_dict import with_metadata
from dsft.errors import CheckpointError

# The names under which training programs keep their weights; averaged weights come first.
ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
)
# What torch.compile, DistributedDataParallel and Lightning put before every name.
PREFIXES = (COMPILED_PREFIX, "module.", "model.")
PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt")

_SHOWN = 4


@dataclass(frozen=True)
class Weights:
    """The tensors of a weights file.

    Attributes:
        state: Tensors by name, on the CPU.
        taken: What was taken from the file, as a sentence.
    """

    state: dict[str, Tensor]
    taken: str


def read_weights(path: Path) -> Weights:
    """Read the weights of a ``.safetensors`` file, or of a PyTorch file without running its code.

    Of several sets of weights in one file the averaged (EMA) ones are taken. Prefixes that
    ``torch.compile``, ``DistributedDataParallel`` and Lightning put before every name are removed.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, would run code, or holds no weights.
    """
    where = f"checkpoint {str(path)!r}"
    if not path.is_file():
        found = "found a folder" if path.is_dir() else "there is no such file"
        raise CheckpointError(f"{where}: a weights file is needed, {found}.")
    if path.suffix.lower() == ".safetensors":
        content: Any = _read_safetensors(path, where)
    elif path.suffix.lower() in PICKLES:
        content = _read_pickle(path, where)
    else:
        known = ", ".join((".safetensors", *PICKLES))
        raise CheckpointError(f"{where}: expected a file that ends in {known}, found {path.suffix!r}.")
    entries, table = _find_table(content, where)
    state, prefix = _without_prefix(table)
    taken = f"Weights of {str(path)!r}"
    taken += f", entry {'.'.join(entries)!r}" if entries else ""
    taken += f", prefix {prefix!r} removed from the names" if prefix else ""
    return Weights(state, f"{taken}.")


def load_weights(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a module: all of them, or none.

    Args:
        module: The network; changed in place.
        state: Tensors by name, exactly those of the module. Counters of batches that a BatchNorm has
            seen may be left out: files from before PyTorch 0.4.1 have none.
        where: What the error message begins with, such as the file.

    Raises:
        CheckpointError: Names or shapes differ; the module keeps what it had.
    """
    before = copy.deepcopy(module.state_dict())
    full = with_metadata(state, module)
    for key, tensor in before.items():
        if key.endswith(".num_batches_tracked"):
            full.setdefault(key, torch.zeros_like(tensor))
    try:
        # Modules rename old keys by themselves while they load, so only loading tells what fits.
        module.load_state_dict(full)
    except (RuntimeError, ValueError) as error:
        module.load_state_dict(before)
        raise CheckpointError(f"{where}: the weights do not fit. {describe_misfit(module, state)}") from error


def describe_misfit(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Say which names are missing, unexpected or of another shape, the first few of each."""
    wanted = module.state_dict()
    shapes = [
        f"{key} {tuple(state[key].shape)}, needed {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    parts = [
        _listed("missing", [key for key in wanted if key not in state]),
        _listed("unexpected", [key for key in state if key not in wanted]),
        _listed("of another shape", shapes),
    ]
    return " ".join(part for part in parts if part)


def _listed(title: str, items: list[str]) -> str:
    shown = "; ".join(items[:_SHOWN]) + ("; ..." if len(items) > _SHOWN else "")
    return f"{len(items)} {title}: {shown}." if items else ""


def _read_safetensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{where}: not a whole safetensors file ({error}).") from error


def _read_pickle(path: Path, where: str) -> Any:
    try:
        # timm keeps its command line in the file: a plain record, harmless to rebuild.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{where}: not a PyTorch file of plain tensors{_needed_code(path)}. dsft runs no code out of a "
            f"weights file. Save the tensors alone: torch.save(model.state_dict(), path)."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{where}: not a whole PyTorch file ({reason}).") from error


def _needed_code(path: Path) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # it only enriches a message, and damaged files fail in many ways
        return ""
    return f": it asks to run {', '.join(names[:_SHOWN])}" if names else ""


def _find_table(content: Any, where: str) -> tuple[list[str], dict[str, Tensor]]:
    """Descend to the table of tensors; return the entries on the way and the table."""
    found = next(_tables(content), None)
    if found is not None:
        return found
    names = f"the entries {', '.join(map(repr, list(content)[:8]))}" if isinstance(content, dict) else None
    raise CheckpointError(
        f"{where}: holds no table of weights. Expected tensors by name, alone or under one of "
        f"{', '.join(ENTRIES)}; found {names or type(content).__name__}."
    )


def _tables(content: Any) -> Iterator[tuple[list[str], dict[str, Tensor]]]:
    """Yield every table of tensors below ``content`` with the entries that lead to it, the preferred first."""
    if not isinstance(content, dict):
        return
    if content and all(isinstance(value, Tensor) for value in content.values()):
        yield [], content
    for name in ENTRIES:
        for entries, table in _tables(content.get(name)):
            yield [name, *entries], table


def _without_prefix(table: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    removed = ""
    while prefix := _common_prefix(table):
        # torch's AveragedModel counts its updates beside the averaged module.
        names = [key for key in table if key != "n_averaged"]
        table = {key.removeprefix(prefix): table[key] for key in names}
        removed += prefix
    return table, removed


def _common_prefix(names: Iterable[str]) -> str | None:
    rest = [name for name in names if name != "n_averaged"]
    return next((p for p in PREFIXES if rest and all(name.startswith(p) for name in rest)), None)
